//! The search terms of a record. A term is a digest that is bound to its workspace: one index serves all workspaces and holds no
//! text of a record, and no input of a user reaches the grammar of the index.

use std::collections::{HashMap, HashSet};

use callhistory_model::{Amount, CallCost, CallRecord, Scalar, WorkspaceId, grouped_scalar, visit_members};
use sha2::{Digest, Sha256};

use super::{
    index_texts::IndexTexts,
    phone_number::NumberingPlan,
    search_text::{FRAGMENT_DIGITS, IndexedText, have_same_texts, text_bytes, visit_indexed},
};

/// Prefixes of phone numbers are terms up to this length, in characters; longer prefixes are found by their start and then
/// compared.
pub(crate) const PREFIX_CHARS: usize = 8;

/// The names of the optional numbers of a record.
pub(crate) const DURATION: &str = "duration";
pub(crate) const COST: &str = "cost";

/// The name of the terms of outcomes.
pub(crate) const OUTCOME: &str = "outcome";
/// The name of the terms of whether a call was answered.
const ANSWERED: &str = "answered";

/// The amount charged to the customer in billionths, if it is known.
pub(crate) fn charge_nanos(record: &CallRecord) -> Option<i64> {
    record.cost.as_ref().and_then(CallCost::customer_charge).and_then(Amount::nanos)
}

/// A digest of the number of the caller and the workspace.
pub(crate) fn caller(workspace: &WorkspaceId, texts: &IndexTexts<'_>) -> Option<i64> {
    let number = texts.from_phone_number.as_deref()?;
    Some(Terms::new(workspace).term("caller", number).0.cast_signed())
}

/// Whether two records of one ID have the same terms. It compares the members that terms are made of, which is much faster than
/// making them; the times of changes are not among these.
pub(crate) fn have_same_terms(one: &CallRecord, other: &CallRecord) -> bool {
    let has_numbers = |record: &CallRecord| (charge_nanos(record).is_some(), record.duration_nanos().is_some());
    // The numbers are compared as they are.
    let texts = |record| IndexTexts::of(record, NumberingPlan::default());
    texts(one) == texts(other) && has_numbers(one) == has_numbers(other) && have_same_texts(one, other)
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

/// Size of the texts from which they are looked up before they are digested: most of them are repeated. In short ones, a second
/// digest is faster.
const LONG_TEXT_BYTES: usize = 16 * 1024;
/// Maximum number of distinct words, prefixes and pairs of characters of one record that can be found. A long call has some thousand.
const MAX_DISTINCT_TEXTS: usize = 500_000;

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

    /// The term of calls that were answered, or of those that were not.
    pub(crate) fn answered(&self, is_answered: bool) -> Term {
        self.term(ANSWERED, if is_answered { "true" } else { "false" })
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

    /// The term of a path of a free-form member by whose value calls cannot be grouped: it is not one scalar.
    pub(crate) fn several(&self, member: &str, path: &str) -> Term {
        self.term(&format!("{member}[]"), path)
    }

    /// The term of what the index has of a text; of digits, that of the whole run.
    pub(crate) fn text(&self, text: IndexedText<'_>) -> Term {
        let (name, text) = parts(text);
        self.term(name, text)
    }

    /// The terms of a run of digits.
    fn fragments<'a>(&'a self, digits: &'a str) -> impl Iterator<Item = Term> + 'a {
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
            ("currency", texts.currency.as_deref()),
            ("fromPhoneNumber", texts.from_phone_number.as_deref()),
            ("toPhoneNumber", texts.to_phone_number.as_deref()),
        ];
        for (name, value) in columns {
            match value {
                Some(value) => terms.extend([self.present(name), self.term(name, value)]),
                None => terms.push(self.absent(name)),
            }
        }
        terms.extend([self.term(OUTCOME, texts.outcome.as_str()), self.answered(texts.is_answered)]);
        terms.extend(record.duration_nanos().map(|_| self.present(DURATION)));
        terms.extend(charge_nanos(record).map(|_| self.present(COST)));
        terms.extend(texts.call_id.map(|id| self.term("callIds", id)));
        for (name, number) in &columns[7..] {
            let Some(number) = number else { continue };
            let ends = number.char_indices().skip(1).map(|(at, _)| at).chain([number.len()]);
            terms.extend(ends.take(PREFIX_CHARS).map(|end| self.prefix(name, &number[..end])));
        }
        for (member, json) in [("metadata", record.metadata.as_str()), ("analyzedData", record.analyzed_data.as_str())]
        {
            // The items of an array share its path, which is digested once.
            let mut last: Option<(String, Sha256)> = None;
            let (mut paths, mut several) = (HashSet::new(), HashSet::new());
            visit_members(json, &mut |path, value| {
                let is_repeated = last.as_ref().is_some_and(|(known, _)| known == path);
                if !is_repeated {
                    terms.push(self.exists(member, path));
                    last = Some((path.to_owned(), self.begin(&format!("{member}.{path}"))));
                }
                let is_single = !is_repeated && paths.insert(path.to_owned()) && grouped_scalar(value).is_some();
                if !is_single && !several.contains(path) {
                    several.insert(path.to_owned());
                }
                let (Some((_, begun)), Some(value)) = (&last, Scalar::from_json(value)) else { return };
                terms.push(finish(begun.clone(), &value.to_json()));
            });
            if member == "metadata" {
                terms.extend(several.iter().map(|path| self.several(member, path)));
            }
        }
        self.add_texts(record, &mut terms);
        terms.sort_unstable();
        terms.dedup();
        terms
    }

    /// Adds the terms of the texts that search covers.
    fn add_texts(&self, record: &CallRecord, terms: &mut Vec<Term>) {
        let is_long = text_bytes(record) > LONG_TEXT_BYTES;
        let mut seen: HashMap<&'static str, HashSet<String>> = HashMap::new();
        let mut distinct = 0;
        visit_indexed(record, &mut |text| {
            if is_long {
                let (name, text) = parts(text);
                let seen = seen.entry(name).or_default();
                if seen.contains(text) || distinct == MAX_DISTINCT_TEXTS {
                    return;
                }
                seen.insert(text.to_owned());
                distinct += 1;
            }
            match text {
                IndexedText::Digits(digits) => terms.extend(self.fragments(digits)),
                _ => terms.push(self.text(text)),
            }
        });
    }
}

/// The name of the terms of a text, and its value.
fn parts(text: IndexedText<'_>) -> (&'static str, &str) {
    match text {
        IndexedText::Word(word) => ("word", word),
        IndexedText::Prefix(start) => ("word^", start),
        IndexedText::Characters(run) => ("characters", run),
        IndexedText::Digits(digits) => ("digits", digits),
    }
}

fn finish(begun: Sha256, value: &str) -> Term {
    let digest = begun.chain_update(value).finalize();
    Term(digest.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte)))
}
