//! Merges what several events say about one call. For each member one rule picks a value, so the record is the same in any order of
//! the events, and an event that arrives twice changes nothing.

use std::{cmp::Ordering, collections::BTreeMap};

use serde_json::value::RawValue;

use super::{
    decode::{Document, ParsedCall},
    rules::is_empty_container,
};
use crate::{
    CallCost, CallInput, CallRecord, CallStatus, ExactNumber, FieldError, FieldErrorCode, FieldErrors, FieldWarning,
    Handling, Seconds, Timestamp, UnixSeconds, WarningCode,
    value::raw_json::{decode_string, object_text, raw_members},
};

/// The value that a merge picks, and whether something that was sent is not in it.
struct Joined {
    json: String,
    is_lost: bool,
}

impl Joined {
    /// One of the two values.
    fn choose(stored: &str, sent: &str, order: Ordering) -> Self {
        let is_lost = order == Ordering::Greater && !is_absent(sent);
        Self { json: if order == Ordering::Less { sent } else { stored }.to_owned(), is_lost }
    }
}

impl CallInput {
    /// Merges the members of an event into a record. The rules are in `docs/data-model.md`: a final status stays, the earliest start
    /// and the latest end count, objects are merged member by member, and of two other values the one that says more is kept.
    /// The result has no `updatedAt` unless the event has one.
    ///
    /// ```
    /// use callhistory_model::{CallInput, CallStatus, WarningCode, examples::source_example};
    ///
    /// let late = CallInput::from_json(br#"{"status": "ringing", "batchId": "b-7"}"#)?;
    /// let merged = late.merge_into(&source_example())?;
    /// assert_eq!(merged.input.status, Some(CallStatus::Completed));
    /// assert_eq!(merged.input.batch_id.as_deref(), Some("b-7"));
    /// assert_eq!(merged.warnings[0].code, WarningCode::StatusKept);
    /// # Ok::<(), callhistory_model::FieldErrors>(())
    /// ```
    ///
    /// # Errors
    ///
    /// None for members that were parsed.
    pub fn merge_into(mut self, stored: &CallRecord) -> Result<ParsedCall, FieldErrors> {
        let internal =
            |error: serde_json::Error| FieldErrors(vec![FieldError::new(FieldErrorCode::Malformed, error.to_string())]);
        let updated_at = self.updated_at.take().filter(|time| time.unix_nanos() > stored.updated_at.unix_nanos());
        let mut before = Self::from(stored.clone());
        let (stored_extra, sent_extra) = (before.take_extra(), self.take_extra());
        let before = serde_json::to_string(&before).map_err(internal)?;
        let sent = serde_json::to_string(&self).map_err(internal)?;
        let stored_members = raw_members(&before).map_err(internal)?;
        let mut members: BTreeMap<_, _> =
            stored_members.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect();
        let mut warnings = Vec::new();
        for (name, value) in raw_members(&sent).map_err(internal)? {
            let joined = match members.get(&name) {
                Some(stored) => join_member(&name, stored, value.get()),
                None => Joined { json: value.get().to_owned(), is_lost: false },
            };
            if joined.is_lost {
                warnings.push(lost(&name, &joined.json));
            }
            members.insert(name, joined.json);
        }
        let extra = join(&stored_extra, &sent_extra);
        if extra.is_lost {
            warnings
                .push(FieldWarning::new(WarningCode::ValueKept, "has unknown members whose stored values are kept"));
        }
        let extra_members = raw_members(&extra.json).map_err(internal)?;
        let all = extra_members.into_iter().map(|(name, value)| (name, value.get().to_owned()));
        let all = all.chain(members);
        let mut merged = Document::read_merged(&object_text(all), Handling::Lenient).finish()?;
        merged.input.updated_at = updated_at;
        merged.is_changed = !warnings.is_empty();
        merged.warnings = warnings;
        Ok(merged)
    }

    /// Takes the unknown members, as the text of an object.
    fn take_extra(&mut self) -> String {
        object_text(std::mem::take(&mut self.extra).iter().map(|(name, value)| (name, value.as_str())))
    }
}

fn lost(name: &str, kept: &str) -> FieldWarning {
    let status = (name == "status").then(|| decode_string(kept).ok()).flatten();
    let is_final = status.is_some_and(|status| CallStatus::from(status).is_final() == Some(true));
    let (code, reason) = if is_final {
        (WarningCode::StatusKept, "is not stored, because the call has a final status")
    } else {
        (WarningCode::ValueKept, "is not stored, because the stored value says more")
    };
    FieldWarning::new(code, reason).in_member(name)
}

/// Whether a value says nothing: it gives way to any other.
fn is_absent(json: &str) -> bool {
    matches!(json, "null" | "\"\"") || json.starts_with(['{', '[']) && is_empty_container(json)
}

/// Joins two values of a known member.
fn join_member(name: &str, stored: &str, sent: &str) -> Joined {
    if is_absent(stored) || is_absent(sent) || stored == sent {
        return join(stored, sent);
    }
    let order = match name {
        "status" => by_key(stored, sent, |json| Some(CallStatus::from(decode_string(json).ok()?).progress())),
        "startTime" | "answeredAt" => by_known(stored, sent, time).then_with(|| by_key(sent, stored, time)),
        "endTime" => by_known(stored, sent, time).then_with(|| by_key(stored, sent, time)),
        "duration" => by_known(stored, sent, duration).then_with(|| by_key(stored, sent, duration)),
        "createdAt" => by_key(sent, stored, timestamp),
        // Amounts of two currencies are not one cost: the one that sorts last counts, and an amount without one gives way.
        "cost" => match currency(stored).cmp(&currency(sent)) {
            Ordering::Equal => return join(stored, sent),
            order => order,
        },
        _ => return join(stored, sent),
    };
    Joined::choose(stored, sent, order.then_with(|| compare(stored, sent)))
}

fn time(json: &str) -> Option<i64> {
    json.parse::<UnixSeconds>().ok()?.nanos()
}

fn duration(json: &str) -> Option<i64> {
    json.parse::<Seconds>().ok()?.nanos()
}

fn currency(json: &str) -> Option<String> {
    let cost: CallCost = serde_json::from_str(json).ok()?;
    cost.currency().map(str::to_owned)
}

fn timestamp(json: &str) -> Option<i64> {
    decode_string(json).ok()?.parse::<Timestamp>().ok().map(|time| time.unix_nanos())
}

/// The order of two values by a key; equal where one has none.
fn by_key<K: Ord>(one: &str, other: &str, key: impl Fn(&str) -> Option<K>) -> Ordering {
    key(one).zip(key(other)).map_or(Ordering::Equal, |(one, other)| one.cmp(&other))
}

/// A known value is more than an unknown one.
fn by_known<K>(one: &str, other: &str, key: impl Fn(&str) -> Option<K>) -> Ordering {
    key(one).is_some().cmp(&key(other).is_some())
}

/// Joins two free-form values: objects member by member; otherwise the greater one.
fn join(stored: &str, sent: &str) -> Joined {
    match (is_absent(stored), is_absent(sent)) {
        _ if stored == sent => return Joined { json: stored.to_owned(), is_lost: false },
        (true, true) => return Joined::choose(stored, sent, compare(stored, sent)),
        (false, true) => return Joined { json: stored.to_owned(), is_lost: false },
        (true, false) => return Joined { json: sent.to_owned(), is_lost: false },
        (false, false) => {}
    }
    let (Ok(stored_members), Ok(sent_members)) = (raw_members(stored), raw_members(sent)) else {
        return Joined::choose(stored, sent, compare(stored, sent));
    };
    // Sorted: the order of members must not depend on the order of events.
    let mut members: BTreeMap<String, String> =
        stored_members.into_iter().map(|(name, value)| (name.into_owned(), value.get().to_owned())).collect();
    let mut is_lost = false;
    for (name, value) in sent_members {
        let joined = match members.get(name.as_ref()) {
            Some(stored) => join(stored, value.get()),
            None => Joined { json: value.get().to_owned(), is_lost: false },
        };
        is_lost |= joined.is_lost;
        members.insert(name.into_owned(), joined.json);
    }
    Joined { json: object_text(members), is_lost }
}

/// A total order of JSON values that are not equal as texts: by type, then the larger number, the longer array, the longer text.
fn compare(one: &str, other: &str) -> Ordering {
    let rank = |json: &str| match json.as_bytes().first() {
        Some(b'{') => 6,
        Some(b'[') => 5,
        Some(b'"') => 4,
        Some(b't') => 2,
        Some(b'f') => 1,
        Some(b'n') => 0,
        _ => 3,
    };
    let items = |json: &str| serde_json::from_str::<Vec<&RawValue>>(json).map(|items| items.len()).ok();
    let amount = |json: &str| ExactNumber::parse(json.strip_prefix('-').unwrap_or(json));
    let same_type = rank(one).cmp(&rank(other));
    same_type
        .then_with(|| if rank(one) == 5 { items(one).cmp(&items(other)) } else { Ordering::Equal })
        .then_with(|| if rank(one) == 3 { amount(one).cmp(&amount(other)) } else { Ordering::Equal })
        .then_with(|| one.len().cmp(&other.len()))
        .then_with(|| one.cmp(other))
}
