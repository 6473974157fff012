//! The parsing rules of members: each takes the JSON text of a value, and reads, converts or refuses it.

use std::{borrow::Cow, str::FromStr};

use crate::{
    Amount, FieldError, FieldErrorCode, FieldWarning, Handling, JsonArray, JsonObject, Seconds, Timestamp, UnixSeconds,
    WarningCode,
    value::{
        decimal::FineUnit,
        raw_json::{decode_string, raw_members, string_text, type_name, without_duplicates, wrong_type},
    },
};

pub(super) const MAX_LABEL_BYTES: usize = 1024;
pub(super) const MAX_ENUM_BYTES: usize = 256;
pub(super) const MAX_PHONE_BYTES: usize = 256;
pub(super) const MAX_SUMMARY_BYTES: usize = 1024 * 1024;
pub(super) const MAX_URL_BYTES: usize = 8192;

/// Reads the value of one member. The warnings have no pointer yet.
#[derive(Default)]
pub(super) struct MemberReader {
    pub(super) handling: Handling,
    pub(super) warnings: Vec<FieldWarning>,
    /// The members of the cost that are `null`, which a patch removes.
    pub(super) removed_from_cost: Vec<String>,
}

impl MemberReader {
    pub(super) fn warn(&mut self, code: WarningCode, detail: impl Into<String>) {
        self.warnings.push(FieldWarning::new(code, detail));
    }

    pub(super) fn is_lenient(&self) -> bool {
        self.handling == Handling::Lenient
    }

    /// The text of a value of MongoDB extended JSON, in lenient handling: `{"$oid": "..."}`, `{"$numberLong": "17"}`.
    fn extended<'a>(&mut self, json: &'a str) -> Option<(String, &'a str)> {
        let members = raw_members(json).ok().filter(|_| self.is_lenient() && json.starts_with('{'))?;
        let [(name, value)] = members.as_slice() else { return None };
        let is_known = ["$oid", "$date", "$numberLong", "$numberInt", "$numberDouble", "$numberDecimal"];
        if !is_known.contains(&name.as_ref()) {
            return None;
        }
        self.warn(WarningCode::ExtendedJson, format!("is {name} of MongoDB extended JSON; its value was read"));
        Some((name.to_string(), value.get()))
    }

    /// A string of any length; more than `max` bytes are not compared by filters.
    pub(super) fn text(&mut self, json: &str, max: usize) -> Result<String, FieldError> {
        let text = match type_name(json) {
            "a number" if self.is_lenient() => {
                self.warn(WarningCode::TextAsNumber, "is a number; it was read as a text");
                json.to_owned()
            }
            "an object" => match self.extended(json) {
                Some((_, value)) => decode_string(value)?,
                None => return Err(wrong_type(json, "a string")),
            },
            _ => decode_string(json)?,
        };
        let text = if text.contains('\0') {
            self.warn(WarningCode::CharactersReplaced, "contains U+0000, which was replaced by U+FFFD");
            text.replace('\0', "\u{fffd}")
        } else {
            text
        };
        if text.len() > max {
            let detail = format!("has {} bytes; it is kept, and filters compare the first {max}", text.len());
            self.warn(WarningCode::TooLong, detail);
        }
        Ok(text)
    }

    /// A name or an ID of another system.
    pub(super) fn label(&mut self, json: &str) -> Result<String, FieldError> {
        self.text(json, MAX_LABEL_BYTES)
    }

    /// A value of an extensible enum.
    pub(super) fn extensible_enum<T: From<String>>(&mut self, json: &str) -> Result<T, FieldError> {
        self.text(json, MAX_ENUM_BYTES).map(T::from)
    }

    /// An ID.
    pub(super) fn id<T: FromStr<Err = FieldError>>(&mut self, json: &str) -> Result<T, FieldError> {
        self.text(json, usize::MAX)?.parse()
    }

    /// The text of a number: a JSON number, or a string that is one.
    fn number_text(&mut self, json: &str) -> Result<String, FieldError> {
        match type_name(json) {
            "a number" => Ok(json.to_owned()),
            "a string" => {
                let text = decode_string(json)?;
                let number = text.trim();
                if number.parse::<Amount>().is_err() {
                    return Err(wrong_type(json, "a number"));
                }
                self.warn(WarningCode::NumberAsText, "is a text; it was read as a number");
                Ok(number.to_owned())
            }
            "an object" => match self.extended(json) {
                Some((name, value)) if name != "$date" => Ok(decode_string(value).unwrap_or_else(|_| value.to_owned())),
                _ => Err(wrong_type(json, "a number")),
            },
            _ => Err(wrong_type(json, "a number")),
        }
    }

    pub(super) fn amount(&mut self, json: &str) -> Result<Amount, FieldError> {
        let amount: Amount = self.number_text(json)?.parse()?;
        self.check_value(amount.check_range(), amount.is_rounded());
        Ok(amount)
    }

    /// A duration. Its unit is checked once the times of the call are known.
    pub(super) fn seconds(&mut self, json: &str) -> Result<Seconds, FieldError> {
        self.number_text(json)?.parse()
    }

    /// Warns about a number that is kept, and counts as unknown or rounded.
    pub(super) fn check_value(&mut self, range: Result<(), FieldError>, is_rounded: bool) {
        if let Err(error) = range {
            self.warn(WarningCode::OutOfRange, format!("{}; it is kept, and counts as unknown", error.detail));
        } else if is_rounded {
            self.warn(WarningCode::Rounded, "has more than nine decimal places; it is kept, and calculations round it");
        }
    }

    /// A time in Unix seconds.
    pub(super) fn unix_seconds(&mut self, json: &str) -> Result<UnixSeconds, FieldError> {
        let time = match self.rfc3339(json)? {
            Some(time) => time,
            None => self.number_text(json)?.parse()?,
        };
        let time = match FineUnit::of_time(&time) {
            Some(unit) => self.converted(unit, time.as_str())?,
            None => time,
        };
        self.check_value(time.check_range(), time.is_rounded());
        Ok(time)
    }

    /// The Unix seconds of a time that is an RFC 3339 text or a date of MongoDB.
    fn rfc3339(&mut self, json: &str) -> Result<Option<UnixSeconds>, FieldError> {
        let as_seconds = |nanos: i64| -> Result<UnixSeconds, FieldError> {
            FineUnit::Nanoseconds.to_seconds(&nanos.to_string()).unwrap_or_default().parse()
        };
        if type_name(json) == "an object" {
            return self.date(json)?.map(|time| as_seconds(time.unix_nanos())).transpose();
        }
        let text = if type_name(json) == "a string" { decode_string(json)? } else { return Ok(None) };
        let Ok(time) = text.trim().parse::<Timestamp>() else { return Ok(None) };
        self.warn(WarningCode::TimeAsText, "is an RFC 3339 time; it was read as Unix seconds");
        as_seconds(time.unix_nanos()).map(Some)
    }

    /// `{"$date": "2026-01-31T10:00:00Z"}`, with milliseconds as a number, or with those in `$numberLong`.
    fn date(&mut self, json: &str) -> Result<Option<Timestamp>, FieldError> {
        let before = self.warnings.len();
        let Some((name, value)) = self.extended(json) else { return Ok(None) };
        if name != "$date" {
            self.warnings.truncate(before);
            return Ok(None);
        }
        if let Ok(text) = decode_string(value) {
            return text.parse().map(Some);
        }
        let millis = match self.extended(value) {
            Some((_, number)) => decode_string(number).unwrap_or_else(|_| number.to_owned()),
            None => value.to_owned(),
        };
        let seconds = FineUnit::Milliseconds.to_seconds(&millis).ok_or_else(|| wrong_type(value, "a date"))?;
        seconds
            .parse::<UnixSeconds>()?
            .nanos()
            .map(|nanos| Some(Timestamp::from_unix_nanos(nanos)))
            .ok_or_else(|| FieldError::new(FieldErrorCode::InvalidTime, "is a date before 1970 or after 2259"))
    }

    /// A number of a finer unit in seconds; strict handling refuses it.
    pub(super) fn converted<T: FromStr<Err = FieldError>>(
        &mut self,
        unit: FineUnit,
        json: &str,
    ) -> Result<T, FieldError> {
        let unit_name = unit.as_str();
        if !self.is_lenient() {
            let detail = format!("is {json}, which can only be {unit_name}; seconds are expected");
            return Err(FieldError::new(FieldErrorCode::WrongUnit, detail));
        }
        self.warn(
            WarningCode::UnitConverted,
            format!("is {json}, which can only be {unit_name}; it was converted to seconds"),
        );
        unit.to_seconds(json).unwrap_or_else(|| json.to_owned()).parse()
    }

    /// A time with its zone.
    pub(super) fn timestamp(&mut self, json: &str) -> Result<Timestamp, FieldError> {
        match type_name(json) {
            "an object" => self.date(json)?.ok_or_else(|| wrong_type(json, "a string")),
            "a number" if self.is_lenient() => {
                let time = self.unix_seconds(json)?;
                self.warn(WarningCode::TextAsNumber, "is a number; it was read as a Unix time");
                time.nanos().map(Timestamp::from_unix_nanos).ok_or_else(|| wrong_type(json, "a time"))
            }
            _ => decode_string(json)?.parse(),
        }
    }

    pub(super) fn object(&mut self, json: &str) -> Result<JsonObject, FieldError> {
        if json.starts_with('[') && is_empty_container(json) {
            self.warn(WarningCode::EmptyArray, "is an empty array; it was read as an empty object");
            return Ok(JsonObject::default());
        }
        self.free_form(json)
    }

    pub(super) fn array(&mut self, json: &str) -> Result<JsonArray, FieldError> {
        if self.is_lenient() && json.starts_with('{') && is_empty_container(json) {
            self.warn(WarningCode::EmptyArray, "is an empty object; it was read as an empty array");
            return Ok(JsonArray::default());
        }
        self.free_form(json)
    }

    /// A free-form value. In lenient handling the last of several members with one name counts.
    pub(super) fn free_form<T: FromStr<Err = FieldError>>(&mut self, json: &str) -> Result<T, FieldError> {
        match json.parse() {
            Err(FieldError { code: FieldErrorCode::DuplicateMember, .. }) if self.is_lenient() => {
                self.without_duplicates(json).parse()
            }
            parsed => parsed,
        }
    }

    /// The same JSON, in which the last of several members with one name counts.
    pub(super) fn without_duplicates<'a>(&mut self, json: &'a str) -> Cow<'a, str> {
        let distinct = without_duplicates(json);
        if matches!(distinct, Cow::Owned(_)) {
            self.warn(WarningCode::DuplicateMember, "has a member more than once; the last value is kept");
        }
        distinct
    }
}

/// Whether an array or object has nothing in it.
pub(super) fn is_empty_container(json: &str) -> bool {
    json.get(1..json.len().saturating_sub(1)).is_some_and(|inside| inside.trim().is_empty())
}

/// A text as a column, a filter and a term see it: an empty text is no value, and a long one is cut.
#[must_use]
pub fn index_text(text: Option<&str>, max_bytes: usize) -> Option<&str> {
    text.filter(|text| !text.is_empty()).map(|text| &text[..text.floor_char_boundary(max_bytes)])
}

/// The JSON text of a number as an amount of `customer_charge`.
pub(super) fn charge_text(json: &str) -> String {
    format!("{{{}:{json}}}", string_text("customer_charge"))
}
