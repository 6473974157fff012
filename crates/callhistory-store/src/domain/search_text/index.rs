//! What the index has of a text.

use std::ops::RangeInclusive;

/// Fragments of numbers are found by runs of three digits; longer fragments are then compared.
pub(crate) const FRAGMENT_DIGITS: usize = 3;

/// What the index has of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexedText<'a> {
    /// A word, or a compound without its apostrophes and hyphens.
    Word(&'a str),
    /// The start of a longer word.
    Prefix(&'a str),
    /// One or two characters of a script without blanks.
    Characters(&'a str),
    /// A run of digits, of which every fragment matches.
    Digits(&'a str),
}

/// The lengths of the prefixes of a word in the index, in characters. A longer prefix is found by its start and then compared. A
/// character of Korean is a syllable.
pub(super) fn prefix_lengths(word: &str) -> RangeInclusive<usize> {
    if word.starts_with(is_hangul) { 1..=3 } else { 3..=5 }
}

/// Whether a word is a number that matches anywhere inside a longer number.
pub(super) fn is_fragment(word: &str) -> bool {
    word.len() >= FRAGMENT_DIGITS && word.bytes().all(|byte| byte.is_ascii_digit())
}

pub(super) fn is_hangul(c: char) -> bool {
    matches!(c, '\u{ac00}'..='\u{d7a3}')
}
