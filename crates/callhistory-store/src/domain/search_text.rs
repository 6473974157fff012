//! The language of search: which texts of a record it covers, how they are compared, and what the index has of them. The index, the
//! comparison of candidates and the evidence share it.

use callhistory_model::{CallRecord, JsonArray, visit_scalars};

pub(crate) mod evidence;
mod index;
mod normalize;
mod query;
mod tokens;

pub(crate) use index::{FRAGMENT_DIGITS, IndexedText};
use index::{is_fragment, prefix_lengths};
use normalize::normalized;
pub(crate) use query::ParsedSearch;
use query::TokenizedText;
use tokens::{Link, TokenKind, compound, tokens};

/// A text of a record that search covers.
pub(crate) struct CoveredText<'a> {
    /// Where it is: a JSON pointer into the record.
    pub(crate) pointer: &'a str,
    pub(crate) text: &'a str,
    pub(crate) is_phone_number: bool,
}

/// The free-form members that search covers, as JSON texts.
fn free_form(record: &CallRecord) -> impl Iterator<Item = (&'static str, &str)> {
    [
        ("/metadata", Some(record.metadata.as_str())),
        ("/analyzedData", Some(record.analyzed_data.as_str())),
        ("/functionCalls", Some(record.function_calls.as_str())),
        ("/transcript", record.transcript.as_ref().map(JsonArray::as_str)),
    ]
    .into_iter()
    .filter_map(|(pointer, json)| Some((pointer, json?)))
}

/// The other members that search covers, with whether they are phone numbers.
fn labels(record: &CallRecord) -> impl Iterator<Item = (&'static str, &str, bool)> {
    [
        ("/fromPhoneNumber", &record.from_phone_number, true),
        ("/toPhoneNumber", &record.to_phone_number, true),
        ("/agent", &record.agent, false),
        ("/callFlowName", &record.call_flow_name, false),
        ("/summary", &record.summary, false),
    ]
    .into_iter()
    .filter_map(|(pointer, text, is_phone_number)| Some((pointer, text.as_deref()?, is_phone_number)))
}

/// Visits every text that search covers: texts and numbers.
pub(crate) fn visit_texts(record: &CallRecord, visit: &mut dyn FnMut(CoveredText<'_>)) {
    for (pointer, text, is_phone_number) in labels(record) {
        visit(CoveredText { pointer, text, is_phone_number });
    }
    for (pointer, json) in free_form(record) {
        visit_scalars(json, pointer, &mut |pointer, text| visit(CoveredText { pointer, text, is_phone_number: false }));
    }
}

/// Whether search covers the same texts in two records.
pub(crate) fn have_same_texts(one: &CallRecord, other: &CallRecord) -> bool {
    labels(one).eq(labels(other)) && free_form(one).eq(free_form(other))
}

/// The approximate size of the texts that search covers, in bytes.
pub(crate) fn text_bytes(record: &CallRecord) -> usize {
    labels(record).map(|(_, text, _)| text.len()).chain(free_form(record).map(|(_, json)| json.len())).sum()
}

/// Visits what the index has of a record. Texts can repeat.
pub(crate) fn visit_indexed(record: &CallRecord, visit: &mut dyn FnMut(IndexedText<'_>)) {
    visit_texts(record, &mut |covered| {
        let text = normalized(covered.text);
        if covered.is_phone_number {
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            visit(IndexedText::Digits(&digits));
        }
        let mut chain = Vec::new();
        for token in tokens(&text) {
            match token.kind {
                TokenKind::Word => visit_word(token.text, visit),
                TokenKind::Run => visit_run(token.text, visit),
            }
            if !covered.is_phone_number && is_fragment(token.text) {
                visit(IndexedText::Digits(token.text));
            }
            if token.link != Link::Joined {
                visit_compound(&chain, visit);
                chain.clear();
            }
            chain.push(token);
        }
        visit_compound(&chain, visit);
    });
}

fn visit_compound(chain: &[tokens::Token<'_>], visit: &mut dyn FnMut(IndexedText<'_>)) {
    if let Some(word) = compound(chain) {
        visit_word(&word.text, visit);
    }
}

fn visit_word(word: &str, visit: &mut dyn FnMut(IndexedText<'_>)) {
    visit(IndexedText::Word(word));
    let lengths = prefix_lengths(word);
    let ends = word.char_indices().map(|(at, _)| at).skip(*lengths.start());
    for end in ends.take(lengths.count()) {
        visit(IndexedText::Prefix(&word[..end]));
    }
}

fn visit_run(run: &str, visit: &mut dyn FnMut(IndexedText<'_>)) {
    let mut before = None;
    for (at, c) in run.char_indices() {
        let end = at + c.len_utf8();
        visit(IndexedText::Characters(&run[at..end]));
        if let Some(start) = before.replace(at) {
            visit(IndexedText::Characters(&run[start..end]));
        }
    }
}

impl ParsedSearch {
    /// Whether a record matches every item.
    pub(crate) fn holds(&self, record: &CallRecord) -> bool {
        let mut missing: Vec<_> = self.items.iter().collect();
        visit_texts(record, &mut |covered| {
            if missing.is_empty() {
                return;
            }
            let text = normalized(covered.text);
            let text = TokenizedText::new(&text, covered.is_phone_number);
            missing.retain(|item| text.matches(item).is_empty());
        });
        missing.is_empty() && !self.items.is_empty()
    }

    /// Whether the JSON of a record shows without parsing that it does not match. A phone number can have other characters between
    /// its digits, and free-form JSON can write any character as an escape sequence.
    pub(crate) fn is_absent<'a>(&self, parts: impl Iterator<Item = &'a [u8]> + Clone) -> bool {
        let has_other = |part: &[u8]| !part.is_ascii() || part.windows(2).any(|two| two == b"\\u");
        if parts.clone().any(has_other) {
            return false;
        }
        let mut text = String::new();
        // A compound matches without its apostrophes and hyphens.
        let kept = parts.flatten().filter(|byte| !matches!(byte, b'\'' | b'-'));
        text.extend(kept.map(|byte| char::from(byte.to_ascii_lowercase())));
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        self.items.iter().any(|item| item.is_absent(&text, &digits))
    }
}
