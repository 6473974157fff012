//! The form of a text in which search compares it: compatibility decomposition (NFKD) without accents, in folded case, composed
//! again. A letter with an accent equals the letter, `ß` equals `ss`, a wide letter a narrow one, `٣` the digit 3.

use std::borrow::Cow;

use icu_normalizer::{
    ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed, properties::CanonicalCombiningClassMapBorrowed,
};
use icu_properties::{
    CodePointMapData,
    props::{GeneralCategory, GeneralCategoryGroup},
};

/// The digit zero of each script that people write numbers in, apart from ASCII.
const ZEROS: [char; 16] = [
    '\u{660}', '\u{6f0}', '\u{966}', '\u{9e6}', '\u{a66}', '\u{ae6}', '\u{b66}', '\u{be6}', '\u{c66}', '\u{ce6}',
    '\u{d66}', '\u{e50}', '\u{ed0}', '\u{f20}', '\u{1040}', '\u{17e0}',
];

/// The normalized text.
pub(crate) fn normalized(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        let has_capitals = text.bytes().any(|byte| byte.is_ascii_uppercase());
        return if has_capitals { Cow::Owned(text.to_ascii_lowercase()) } else { Cow::Borrowed(text) };
    }
    let mut folded = String::with_capacity(text.len());
    push_normalized(text.chars(), &mut folded);
    Cow::Owned(folded)
}

/// The characters of the original from which ranges of the normalized text come, which are in order and in bytes.
pub(crate) fn original_ranges(original: &str, ranges: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // Normalization changes the case of ASCII and nothing else.
    if original.is_ascii() {
        return ranges.to_vec();
    }
    let (mut found, mut open) = (Vec::new(), None);
    let mut ranges = ranges.iter().peekable();
    // Each piece is normalized for itself, until the last range is found.
    let (mut rest, mut chars, mut bytes, mut piece_text) = (original, 0, 0, String::new());
    while let (Some((start, end)), Some(first)) = (ranges.peek(), rest.chars().next()) {
        let length = rest[first.len_utf8()..].find(|c| !continues(c)).map_or(rest.len(), |at| at + first.len_utf8());
        let (piece, tail) = rest.split_at(length);
        piece_text.clear();
        push_normalized(piece.chars(), &mut piece_text);
        bytes += piece_text.len();
        if bytes > *start {
            open.get_or_insert(chars);
        }
        chars += piece.chars().count();
        if let Some(first) = open.filter(|_| bytes >= *end) {
            found.push((first, chars));
            open = None;
            ranges.next();
            // Two ranges can begin in one piece.
            while let Some((_, end)) = ranges.peek()
                && *end <= bytes
            {
                ranges.next();
            }
        }
        rest = tail;
    }
    found
}

/// The start of what is shown as one character, at or before a character of a text.
pub(crate) fn piece_start(text: &str, at: usize) -> usize {
    let starts = text.chars().take(at + 1).enumerate().filter(|(_, c)| !continues(*c));
    starts.last().map_or(0, |(at, _)| at)
}

/// Appends the normalized form of characters.
fn push_normalized(chars: impl Iterator<Item = char>, to: &mut String) {
    let start = to.len();
    let decomposing = const { DecomposingNormalizerBorrowed::new_nfkd() };
    decomposing.normalize_iter(chars).for_each(|c| push_folded(c, to));
    let composing = const { ComposingNormalizerBorrowed::new_nfc() };
    if let Cow::Owned(composed) = composing.normalize(&to[start..]) {
        to.truncate(start);
        to.push_str(&composed);
    }
}

/// Appends a decomposed character in folded case, unless search ignores it.
fn push_folded(c: char, to: &mut String) {
    if c.is_ascii() {
        to.push(c.to_ascii_lowercase());
        return;
    }
    if is_ignored(c) || is_accent(c) {
        return;
    }
    match c {
        // Apostrophes and hyphens under other names.
        '\u{2018}' | '\u{2019}' | '\u{201b}' | '\u{2bb}' | '\u{2bc}' | '\u{5f3}' => to.push('\''),
        '\u{2010}' | '\u{5be}' => to.push('-'),
        '\u{5f4}' => to.push('"'),
        // Letters that people leave the stroke out of, and that Unicode does not decompose.
        'ø' | 'Ø' => to.push('o'),
        'ł' | 'Ł' => to.push('l'),
        'đ' | 'Đ' | 'ð' | 'Ð' => to.push('d'),
        'ħ' | 'Ħ' => to.push('h'),
        'æ' | 'Æ' => to.push_str("ae"),
        'œ' | 'Œ' => to.push_str("oe"),
        'þ' | 'Þ' => to.push_str("th"),
        _ => match ascii_digit(c) {
            Some(digit) => to.push(digit),
            // Upper case first joins what has one capital letter: `ς` and `σ`, `ß` and `ss`.
            None => to.extend(c.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase)),
        },
    }
}

fn ascii_digit(c: char) -> Option<char> {
    let value = ZEROS.iter().map(|zero| u32::from(c).wrapping_sub(u32::from(*zero))).find(|value| *value < 10)?;
    char::from_digit(value, 10)
}

/// Characters without a form of their own: soft hyphens, joiners, marks of direction, the Arabic tatweel, selectors of variants.
fn is_ignored(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{640}' | '\u{feff}')
        || matches!(c, '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Whether a mark only adorns its letter, as an accent, a vowel point of Hebrew or Arabic or a nukta does. The vowel signs of other
/// scripts and the voiced mark of Japanese make another letter.
fn is_accent(c: char) -> bool {
    matches!(combining_class(c), 7 | 10..=36 | 200..=240)
}

fn combining_class(c: char) -> u8 {
    // There are none before.
    if c < '\u{300}' { 0 } else { const { CanonicalCombiningClassMapBorrowed::new() }.get_u8(c) }
}

/// Whether a character is a mark on the one before it.
pub(crate) fn is_mark(c: char) -> bool {
    c >= '\u{300}' && GeneralCategoryGroup::Mark.contains(const { CodePointMapData::<GeneralCategory>::new() }.get(c))
}

/// Whether a character can be normalized only together with the one before it.
fn continues(c: char) -> bool {
    is_mark(c)
        || is_ignored(c)
        // Vowels and final consonants of Korean syllables, and the wide forms of the former.
        || matches!(c, '\u{1160}'..='\u{11ff}' | '\u{d7b0}'..='\u{d7ff}' | '\u{314f}'..='\u{3163}' | '\u{ffc2}'..='\u{ffdc}')
        // Narrow marks of Japanese.
        || matches!(c, '\u{ff9e}' | '\u{ff9f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_people_take_for_equal_have_one_form() {
        for (text, expected) in [
            ("Café CAFÉ cafe\u{301}", "cafe cafe cafe"),
            ("Straße STRASSE STRAẞE", "strasse strasse strasse"),
            ("ΟΔΟΣ οδός ὁδὸς", "οδοσ οδοσ οδοσ"),
            ("Ёлка йод", "елка иод"),
            ("İstanbul ISTANBUL ıstanbul", "istanbul istanbul istanbul"),
            ("ﬁne Ｆｕｌｌ ①", "fine full 1"),
            ("مُحَمَّد محمـد أحمد", "محمد محمد احمد"),
            ("שָׁלוֹם", "שלום"),
            ("क़लम हिन्दी", "कलम हिन्दी"),
            ("ｶﾞｷﾞ がぎ か\u{3099}", "ガギ がぎ が"),
            ("한국 \u{1112}\u{1161}\u{11ab}", "한국 한"),
            ("Łódź Sørensen Æther", "lodz sorensen aether"),
            ("١٢٣ १२", "123 12"),
            ("don’t co\u{ad}op a‑b", "don't coop a-b"),
        ] {
            assert_eq!(normalized(text), expected, "{text}");
            let chars = text.chars().count();
            assert_eq!(original_ranges(text, &[(0, expected.len())]), [(0, chars)], "{text}");
        }
    }

    #[test]
    fn a_range_comes_from_whole_characters_of_the_original() {
        let text = "e\u{301}ﬁ ß";
        assert_eq!(normalized(text), "efi ss");
        let ranges = [((0, 1), (0, 2)), ((1, 2), (2, 3)), ((4, 6), (4, 5)), ((0, 6), (0, 5))];
        for (range, expected) in ranges {
            assert_eq!(original_ranges(text, &[range]), [expected]);
        }
        assert_eq!(original_ranges(text, &[(0, 1), (2, 3), (4, 6)]), [(0, 2), (2, 3), (4, 5)]);
        assert_eq!((piece_start(text, 1), piece_start(text, 2)), (0, 2));
    }
}
