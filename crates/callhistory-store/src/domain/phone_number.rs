//! The normalised form of phone numbers, in which filters compare them and metrics count them. The number in the record stays as it
//! was sent.

use callhistory_model::{FieldError, FieldErrorCode};

/// Fewer digits than any number with a country calling code has; shorter ones are extensions and short codes.
const MIN_INTERNATIONAL_DIGITS: usize = 7;
/// Digits of a number that can only be international although its plus sign was lost: `4930123456789`.
const BARE_INTERNATIONAL_DIGITS: std::ops::RangeInclusive<usize> = 11..=15;
/// Fewest digits of a national number that was sent without its trunk prefix; shorter ones may lack the area code as well.
const MIN_NATIONAL_DIGITS: usize = 9;

/// How national numbers are read: with the numbering plan of a default country, or not at all.
///
/// ```
/// use callhistory_store::NumberingPlan;
///
/// let plan: NumberingPlan = "DE".parse()?;
/// assert_eq!(plan.normalize("030 123"), "+4930123");
/// assert_eq!(plan.normalize("tel:+49-30-123"), plan.normalize("sip:004930123@example.com;user=phone"));
/// assert_eq!(NumberingPlan::default().normalize("Anonymous"), "anonymous");
/// # Ok::<(), callhistory_model::FieldError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NumberingPlan(Option<Country>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Country {
    id: &'static str,
    calling_code: &'static str,
    trunk_prefix: &'static str,
    international_prefix: &'static str,
    min_digits: usize,
    max_digits: usize,
}

impl Country {
    fn all() -> impl Iterator<Item = Self> {
        let lines = include_str!("numbering_plans.txt").lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| {
            let mut columns = line.split(' ');
            Some(Self {
                id: columns.next()?,
                calling_code: columns.next()?,
                trunk_prefix: columns.next()?.trim_start_matches('-'),
                international_prefix: columns.next()?,
                min_digits: columns.next()?.parse().ok()?,
                max_digits: columns.next()?.parse().ok()?,
            })
        })
    }

    /// The international form of digits that are dialled in this country, if they have one.
    fn international(&self, digits: &str) -> Option<String> {
        let dialled =
            digits.strip_prefix(self.international_prefix).filter(|rest| rest.len() >= MIN_INTERNATIONAL_DIGITS);
        if let Some(number) = dialled {
            return Some(format!("+{number}"));
        }
        let has_length = |number: &str| (self.min_digits..=self.max_digits).contains(&number.len());
        let trunk = digits.strip_prefix(self.trunk_prefix).filter(|_| !self.trunk_prefix.is_empty());
        // An area code begins with no zero, and numbers of test systems are short.
        let trunk = trunk.filter(|number| self.trunk_prefix == "0" && number.len() > 1 || has_length(number));
        let full = digits.strip_prefix(self.calling_code).filter(|number| has_length(number));
        let is_national = has_length(digits) && (self.trunk_prefix.is_empty() || digits.len() >= MIN_NATIONAL_DIGITS);
        // In a plan of very long numbers, the digits are rather those of a number that lost its plus sign.
        let is_national = is_national && !(self.max_digits > 12 && BARE_INTERNATIONAL_DIGITS.contains(&digits.len()));
        let national = trunk.or(full).or(is_national.then_some(digits))?;
        Some(format!("+{}{national}", self.calling_code))
    }
}

impl NumberingPlan {
    /// The country code of ISO 3166 whose plan is used; `None` if only international numbers are read.
    #[must_use]
    pub fn country(self) -> Option<&'static str> {
        self.0.map(|country| country.id)
    }

    /// The normalised form of a number, which is what two spellings of one number have in common: `+` and the digits of an
    /// international number, the digits of another one, and the name in lower case of anything else, such as `anonymous`.
    ///
    /// It understands URIs (`tel:`, `sip:`) with parameters, display names, `00` and the international prefix of the country,
    /// the trunk prefix of the country, separators, and digits of any script.
    #[must_use]
    pub fn normalize(self, number: &str) -> String {
        let address = Address::of(number);
        let Some((has_plus, digits)) = address.digits() else { return address.name() };
        if has_plus {
            return format!("+{digits}");
        }
        let dialled = digits.strip_prefix("00").filter(|rest| rest.len() >= MIN_INTERNATIONAL_DIGITS);
        if let Some(rest) = dialled {
            return format!("+{rest}");
        }
        if let Some(number) = self.0.and_then(|country| country.international(&digits)) {
            return number;
        }
        if BARE_INTERNATIONAL_DIGITS.contains(&digits.len()) && !digits.starts_with('0') {
            return format!("+{digits}");
        }
        digits
    }

    /// The normalised form of the beginning of a number. Where the rest decides what the number is, it is taken as it was sent.
    #[must_use]
    pub fn normalize_prefix(self, start: &str) -> String {
        let address = Address::of(start);
        let Some((has_plus, digits)) = address.digits() else { return address.name() };
        if has_plus {
            return format!("+{digits}");
        }
        if let Some(rest) = digits.strip_prefix("00") {
            return format!("+{rest}");
        }
        let trunk = self.0.and_then(|country| {
            let rest = digits.strip_prefix(country.trunk_prefix).filter(|_| country.trunk_prefix == "0")?;
            Some(format!("+{}{rest}", country.calling_code))
        });
        trunk.unwrap_or(digits)
    }
}

impl std::str::FromStr for NumberingPlan {
    type Err = FieldError;

    fn from_str(country: &str) -> Result<Self, FieldError> {
        let known = Country::all().find(|known| known.id.eq_ignore_ascii_case(country));
        known.map(|country| Self(Some(country))).ok_or_else(|| {
            let detail = format!("{country:?} is not a country code of ISO 3166 like \"DE\"");
            FieldError::new(FieldErrorCode::Malformed, detail)
        })
    }
}

/// The part of a phone number that says who is called.
struct Address {
    text: String,
    is_uri: bool,
}

impl Address {
    fn of(number: &str) -> Self {
        // Marks of the writing direction and other invisible characters come with copied numbers.
        let visible: String = number.chars().filter(|c| !is_invisible(*c)).collect();
        let text = visible.trim();
        // A display name: `"Doe" <sip:…>`.
        let text = match (text.rfind('<'), text.ends_with('>')) {
            (Some(start), true) => &text[start + 1..text.len() - 1],
            _ => text,
        };
        let scheme = ["sips:", "sip:", "tel:", "callto:"]
            .into_iter()
            .find(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
        let Some(scheme) = scheme else { return Self { text: text.to_owned(), is_uri: false } };
        let rest = text[scheme.len()..].trim_start_matches('/');
        let decoded = rest.replace("%2B", "+").replace("%2b", "+").replace("%20", " ");
        let (subscriber, parameters) = decoded.split_once([';', '?']).unwrap_or((&decoded, ""));
        // A local number names the area that it belongs to.
        let context = parameters.split(';').find_map(|parameter| parameter.strip_prefix("phone-context=+"));
        let digits = context.filter(|context| context.bytes().all(|byte| byte.is_ascii_digit()));
        let text = match digits {
            Some(context) if !subscriber.starts_with('+') => format!("+{context}{subscriber}"),
            // The host follows the parameters of the user: `sip:+49;npdi@host`.
            _ => match decoded.rsplit_once('@') {
                Some((_, host)) if !subscriber.contains('@') => format!("{subscriber}@{host}"),
                _ => subscriber.to_owned(),
            },
        };
        Self { text, is_uri: true }
    }

    /// Whether the number is international, and its digits; `None` if it is no number.
    fn digits(&self) -> Option<(bool, String)> {
        let user = self.text.split(['@', ';']).next().unwrap_or_default();
        // A code that hides or shows the number of the caller.
        let user = ["*31#", "#31#"].iter().find_map(|code| user.strip_prefix(code)).unwrap_or(user).trim();
        let has_plus = user.starts_with(['+', '\u{ff0b}']);
        // The trunk prefix that some write into an international number.
        let user = if has_plus { user.replace("(0)", "") } else { user.to_owned() };
        let mut digits = String::with_capacity(user.len());
        for (at, c) in user.chars().enumerate() {
            match c {
                '0'..='9' => digits.push(c),
                '+' | '\u{ff0b}' if at == 0 => {}
                '-' | '.' | '/' | '(' | ')' | '\u{2010}'..='\u{2015}' | '\u{2212}' => {}
                c if c.is_whitespace() => {}
                c => digits.push(decimal_digit(c)?),
            }
        }
        (!digits.is_empty()).then_some((has_plus, digits))
    }

    /// The name of what is no number. The host of an anonymous caller is that of a relay.
    fn name(&self) -> String {
        let text = self.text.to_lowercase();
        match text.split_once('@') {
            Some((user @ ("anonymous" | "unavailable" | "restricted" | "unknown" | "private"), _)) if self.is_uri => {
                user.to_owned()
            }
            _ => text,
        }
    }
}

/// Whether a character is invisible: marks of the writing direction, joiners and the like.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{ad}')
}

/// The decimal digit of another script: Arabic, Persian, Devanagari, Bengali, full width.
fn decimal_digit(c: char) -> Option<char> {
    const ZEROS: [u32; 5] = [0x660, 0x6f0, 0x966, 0x9e6, 0xff10];
    let digit = ZEROS.iter().find_map(|zero| (c as u32).checked_sub(*zero).filter(|digit| *digit < 10))?;
    char::from_digit(digit, 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(country: &str) -> NumberingPlan {
        country.parse().unwrap()
    }

    #[test]
    fn one_number_has_one_form_in_every_spelling() {
        for spelling in [
            "+493012345678",
            "+49 30 1234-5678",
            "+49 (0)30 12345678",
            "00493012345678",
            "0049 (30) 12345678",
            "tel:+493012345678",
            "TEL:+49-30-12345678;npdi;rn=+491",
            "sip:+493012345678@example.com;user=phone",
            "sips:00493012345678@10.0.0.1:5060",
            "\"Jane Doe\" <sip:+493012345678@example.com>",
            "sip:%2B493012345678@example.com",
            "\u{202a}+49 30 12345678\u{202c}",
            "*31#+493012345678",
            "493012345678",
            "+493012345678@example.com",
            "tel:12345678;phone-context=+4930",
            "sip:+493012345678;npdi@example.com",
            "\u{ff0b}\u{ff14}\u{ff19}3012345678",
            "+\u{664}\u{669}3012345678",
        ] {
            assert_eq!(NumberingPlan::default().normalize(spelling), "+493012345678", "{spelling}");
            assert_eq!(plan("de").normalize(spelling), "+493012345678", "{spelling}");
        }
        for spelling in ["030 12345678", "(030) 1234 5678", "tel:03012345678", "sip:03012345678@example.com"] {
            assert_eq!(plan("DE").normalize(spelling), "+493012345678", "{spelling}");
            assert_eq!(NumberingPlan::default().normalize(spelling), "03012345678", "{spelling}");
        }
    }

    #[test]
    fn national_numbers_follow_the_plan_of_the_country() {
        for (country, spelling, expected) in [
            ("US", "(555) 234-5678", "+15552345678"),
            ("US", "1-555-234-5678", "+15552345678"),
            ("US", "011 49 30 123456", "+4930123456"),
            ("GB", "020 7946 0018", "+442079460018"),
            ("IT", "06 1234 5678", "+390612345678"),
            ("ES", "612 345 678", "+34612345678"),
            ("FR", "06 12 34 56 78", "+33612345678"),
            ("CN", "13812345678", "+8613812345678"),
            ("IN", "9876543210", "+919876543210"),
            ("JP", "03-1234-5678", "+81312345678"),
            ("BR", "(11) 96123-4567", "+5511961234567"),
            ("HU", "06 1 234 5678", "+3612345678"),
            ("DE", "1001", "1001"),
            ("US", "911", "911"),
            ("DE", "15552345678", "+15552345678"),
        ] {
            assert_eq!(plan(country).normalize(spelling), expected, "{country} {spelling}");
        }
        assert_eq!(Country::all().count(), 245);
        assert!("XX".parse::<NumberingPlan>().unwrap_err().detail.contains("ISO 3166"));
    }

    #[test]
    fn names_are_compared_without_case() {
        let plan = NumberingPlan::default();
        for name in ["Anonymous", "anonymous", "sip:anonymous@anonymous.invalid", "\"Anonymous\" <sip:anonymous@x>"] {
            assert_eq!(plan.normalize(name), "anonymous", "{name}");
        }
        assert_eq!(plan.normalize("sip:Alice@example.com"), "alice@example.com");
        assert_eq!(
            (plan.normalize(""), plan.normalize(" +"), plan.normalize("1001")),
            (String::new(), "+".into(), "1001".into())
        );
    }

    #[test]
    fn a_prefix_begins_the_numbers_that_it_means() {
        for (start, full) in [("+49 30", "+493012345678"), ("0049", "+493012345678"), ("tel:+4930", "+493012345678")] {
            let plan = NumberingPlan::default();
            assert!(plan.normalize(full).starts_with(&plan.normalize_prefix(start)), "{start}");
        }
        assert_eq!(plan("DE").normalize_prefix("030"), "+4930");
        assert_eq!(
            (plan("DE").normalize_prefix("10"), plan("US").normalize_prefix("555")),
            ("10".into(), "555".into())
        );
    }
}
