//! The search terms of a record. A term is a digest that is bound to its workspace: one index serves all workspaces and holds no
//! text of a record, and no input of a user reaches the grammar of the index.

use std::collections::HashSet;

use callhistory_model::{Amount, CallCost, CallRecord, Scalar, WorkspaceId, visit_members, words};
use sha2::{Digest, Sha256};

use super::{index_texts::IndexTexts, phone_number::NumberingPlan};

/// Prefixes of phone numbers are terms up to this length, in characters; longer prefixes are found by their start and then
/// compared.
pub(crate) const PREFIX_CHARS: usize = 8;
/// Fragments of numbers are found by runs of three digits; longer fragments are then compared.
pub(crate) const FRAGMENT_DIGITS: usize = 3;

/// The names of the optional numbers of a record.
pub(crate) const DURATION: &str = "duration";
pub(crate) const COST: &str = "cost";

/// The name of the terms of outcomes.
pub(crate) const OUTCOME: &str = "outcome";

/// The amount charged to the customer in billionths, if it is known.
pub(crate) fn charge_nanos(record: &CallRecord) -> Option<i64> {
    record.cost.as_ref().and_then(CallCost::customer_charge).and_then(Amount::nanos)
}

/// Whether two records of one ID have the same terms. It compares the members that terms are made of, which is much faster than
/// making them; the times of changes are not among these.
pub(crate) fn have_same_terms(one: &CallRecord, other: &CallRecord) -> bool {
    let has_numbers = |record: &CallRecord| (charge_nanos(record).is_some(), record.duration_nanos().is_some());
    // The numbers are compared as they are.
    let texts = |record| IndexTexts::of(record, NumberingPlan::default());
    texts(one) == texts(other)
        && has_numbers(one) == has_numbers(other)
        && one.from_phone_number == other.from_phone_number
        && one.to_phone_number == other.to_phone_number
        && one.summary == other.summary
        && one.metadata == other.metadata
        && one.analyzed_data == other.analyzed_data
        && one.transcript == other.transcript
}

/// A digest of a workspace, a name and a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Term(pub(crate) u64);

#[cfg(feature = "postgres")]
impl Term {
    /// The same bits as a number with a sign.
    pub(crate) fn number(&self) -> i64 {
        self.0.cast_signed()
    }
}

/// Computes the terms of one workspace.
pub(crate) struct Terms(Sha256);

impl Terms {
    pub(crate) fn new(workspace: &WorkspaceId) -> Self {
        Self(Sha256::new_with_prefix(workspace.as_str()))
    }

    pub(crate) fn term(&self, name: &str, value: &str) -> Term {
        finish(self.begin(name), value)
    }

    /// The digest state of a name. IDs and names contain no zero byte, so different terms never have the same text.
    fn begin(&self, name: &str) -> Sha256 {
        self.0.clone().chain_update([0]).chain_update(name).chain_update([0])
    }

    /// The term that every record of the workspace has.
    pub(crate) fn every(&self) -> Term {
        self.term("", "")
    }

    /// The term of a present member.
    pub(crate) fn present(&self, name: &str) -> Term {
        self.term("present", name)
    }

    /// The term of an absent member.
    pub(crate) fn absent(&self, name: &str) -> Term {
        self.term("absent", name)
    }

    /// The term of a prefix of a phone number.
    pub(crate) fn prefix(&self, name: &str, start: &str) -> Term {
        self.term(&format!("{name}^"), start)
    }

    /// The term of a value at a path of a free-form member.
    pub(crate) fn scalar(&self, member: &str, path: &str, value: &Scalar) -> Term {
        self.term(&format!("{member}.{path}"), &value.to_json())
    }

    /// The term of any value at a path of a free-form member.
    pub(crate) fn exists(&self, member: &str, path: &str) -> Term {
        self.term(&format!("{member}?"), path)
    }

    pub(crate) fn word(&self, word: &str) -> Term {
        self.term("word", word)
    }

    /// The terms of a run of digits.
    pub(crate) fn fragments<'a>(&'a self, digits: &'a str) -> impl Iterator<Item = Term> + 'a {
        (FRAGMENT_DIGITS..=digits.len()).map(|end| self.term("digits", &digits[end - FRAGMENT_DIGITS..end]))
    }

    /// The fewest of them that cover every digit. Candidates are compared in any case, and a further term costs more than it
    /// excludes.
    pub(crate) fn covering_fragments<'a>(&'a self, digits: &'a str) -> impl Iterator<Item = Term> + 'a {
        let last = digits.len() - FRAGMENT_DIGITS;
        (0..last)
            .step_by(FRAGMENT_DIGITS)
            .chain([last])
            .map(|start| self.term("digits", &digits[start..start + FRAGMENT_DIGITS]))
    }

    /// All terms of a record, sorted and distinct.
    pub(crate) fn of(&self, record: &CallRecord, plan: NumberingPlan) -> Vec<Term> {
        let mut terms = vec![self.every(), self.term("callIds", record.id.as_str())];
        let texts = IndexTexts::of(record, plan);
        let columns = [
            ("agentId", texts.agent_id),
            ("callFlowId", texts.call_flow_id),
            ("batchId", texts.batch_id),
            ("status", texts.status.as_deref()),
            ("direction", texts.direction.as_deref()),
            ("callType", texts.call_type.as_deref()),
            ("fromPhoneNumber", texts.from_phone_number.as_deref()),
            ("toPhoneNumber", texts.to_phone_number.as_deref()),
        ];
        for (name, value) in columns {
            match value {
                Some(value) => terms.extend([self.present(name), self.term(name, value)]),
                None => terms.push(self.absent(name)),
            }
        }
        terms.push(self.term(OUTCOME, texts.outcome.as_str()));
        terms.extend(record.duration_nanos().map(|_| self.present(DURATION)));
        terms.extend(charge_nanos(record).map(|_| self.present(COST)));
        terms.extend(texts.call_id.map(|id| self.term("callIds", id)));
        for (name, number) in &columns[6..] {
            let Some(number) = number else { continue };
            let ends = number.char_indices().skip(1).map(|(at, _)| at).chain([number.len()]);
            terms.extend(ends.take(PREFIX_CHARS).map(|end| self.prefix(name, &number[..end])));
        }
        for (member, json) in [("metadata", record.metadata.as_str()), ("analyzedData", record.analyzed_data.as_str())]
        {
            // The items of an array share its path, which is digested once.
            let mut last: Option<(String, Sha256)> = None;
            visit_members(json, &mut |path, value| {
                if last.as_ref().is_none_or(|(known, _)| known != path) {
                    terms.push(self.exists(member, path));
                    last = Some((path.to_owned(), self.begin(&format!("{member}.{path}"))));
                }
                let (Some((_, begun)), Some(value)) = (&last, Scalar::from_json(value)) else { return };
                terms.push(finish(begun.clone(), &value.to_json()));
            });
        }
        let (mut words, mut numbers) = (DistinctTexts::new(record), DistinctTexts::new(record));
        visit_words(record, &mut |word| terms.extend(words.is_new(word).then(|| self.word(word))));
        visit_digits(record, &mut |digits| {
            if numbers.is_new(digits) {
                terms.extend(self.fragments(digits));
            }
        });
        terms.sort_unstable();
        terms.dedup();
        terms
    }
}

/// Size of a transcript from which its words are looked up before they are digested: most of them are repeated. In a short one, a
/// second digest is faster.
const LONG_TRANSCRIPT_BYTES: usize = 16 * 1024;

/// The distinct texts of a record, if that has a long transcript.
struct DistinctTexts(Option<HashSet<String>>);

impl DistinctTexts {
    fn new(record: &CallRecord) -> Self {
        let is_long = record.transcript.as_ref().is_some_and(|text| text.as_str().len() > LONG_TRANSCRIPT_BYTES);
        Self(is_long.then(HashSet::new))
    }

    /// Whether the text is not known to have been seen.
    fn is_new(&mut self, text: &str) -> bool {
        let Some(seen) = &mut self.0 else { return true };
        !seen.contains(text) && seen.insert(text.to_owned())
    }
}

fn finish(begun: Sha256, value: &str) -> Term {
    let digest = begun.chain_update(value).finalize();
    Term(digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte)))
}

/// Visits every text that search covers, except phone numbers.
fn visit_texts(record: &CallRecord, visit: &mut dyn FnMut(&str)) {
    if let Some(summary) = &record.summary {
        visit(summary);
    }
    let transcript = record.transcript.as_ref().map(callhistory_model::JsonArray::as_str);
    for json in [Some(record.metadata.as_str()), transcript].into_iter().flatten() {
        visit_members(json, &mut |_, value| match value.as_bytes().first() {
            Some(b'"') => {
                if let Some(Scalar::Text(text)) = Scalar::from_json(value) {
                    visit(&text);
                }
            }
            Some(b'-' | b'0'..=b'9') => visit(value),
            _ => {}
        });
    }
}

fn phone_numbers(record: &CallRecord) -> impl Iterator<Item = &String> {
    record.from_phone_number.iter().chain(&record.to_phone_number)
}

fn visit_words(record: &CallRecord, visit: &mut dyn FnMut(&str)) {
    let mut each = |text: &str| words(text).for_each(|word| visit(&word));
    visit_texts(record, &mut each);
    phone_numbers(record).for_each(|number| each(number));
}

/// Visits the runs of digits that fragments match: all digits of a phone number, and each number of a text.
fn visit_digits(record: &CallRecord, visit: &mut dyn FnMut(&str)) {
    visit_texts(record, &mut |text| words(text).filter(|word| is_fragment(word)).for_each(|word| visit(&word)));
    for number in phone_numbers(record) {
        let digits: String = number.chars().filter(char::is_ascii_digit).collect();
        visit(&digits);
    }
}

/// Whether a word is a number that matches anywhere inside a longer number.
pub(crate) fn is_fragment(word: &str) -> bool {
    word.len() >= FRAGMENT_DIGITS && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a run of digits occurs inside a number of the record.
pub(crate) fn has_digits(record: &CallRecord, digits: &str) -> bool {
    let mut found = false;
    visit_digits(record, &mut |run| found |= run.contains(digits));
    found
}
