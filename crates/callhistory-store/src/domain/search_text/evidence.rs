//! The evidence of a hit: which texts match, where, and how well.

use std::collections::HashMap;

use callhistory_model::{CallRecord, ExactDecimal, SearchEvidence, SearchQuery, SearchSort, Seconds, UnixSeconds};
use serde_json::value::RawValue;

use super::{
    ParsedSearch,
    normalize::{normalized, original_ranges, piece_start},
    query::TokenizedText,
    visit_texts,
};
use crate::{
    error::StoreError,
    results::{CallPage, CallSearchHit, CallSearchPage},
};

/// Maximum length of the pointer of a text, and of a role, in bytes. Longer ones are not shown.
const MAX_MEMBER_BYTES: usize = 1024;
const MAX_ROLE_BYTES: usize = 64;
/// Characters of the snippet before its first match.
const CHARS_BEFORE: usize = 60;

/// The members of an item of a transcript that say who speaks, and when.
const ROLES: [&str; 4] = ["role", "speaker", "participant", "channel"];
const TIMES: [&str; 8] =
    ["secondsFromStart", "time_in_call_secs", "start", "startTime", "start_time", "offset", "time", "timestamp"];

/// How well a call matches: the most items in one of its texts, then the number of matches.
type Relevance = (u32, usize);

/// A text that matches, before it is shown.
struct MatchingText {
    member: String,
    /// The item of the transcript, or the member itself: one text of each is shown.
    place: usize,
    items: u32,
    text: String,
    ranges: Vec<(usize, usize)>,
}

/// The hits of a page of the matching calls, in the order of the search. Calls that match only by their phone numbers are no hits
/// for a caller who does not see these.
pub(crate) fn search_page(
    page: &CallPage,
    query: &SearchQuery,
    sees_phone_numbers: bool,
) -> Result<CallSearchPage, StoreError> {
    let search = ParsedSearch::parse(query.filter.search.as_deref().unwrap_or_default());
    let mut found = Vec::new();
    for call in page.calls.iter() {
        let record: CallRecord =
            serde_json::from_slice(call).map_err(|_| StoreError::Internal("a record cannot be read".to_owned()))?;
        let Some((relevance, evidence)) = evidence(&search, &record, sees_phone_numbers) else { continue };
        found.push((relevance, CallSearchHit { call: call.to_vec().into(), evidence }));
    }
    let is_ranked = query.sort == SearchSort::Relevance;
    if is_ranked {
        // Stable: equally good calls stay in the order of time.
        found.sort_by_key(|(relevance, _)| std::cmp::Reverse(*relevance));
        found.truncate(query.page_size());
    }
    let next = page.next.clone().filter(|_| !is_ranked);
    let hits = found.into_iter().map(|(_, hit)| hit).collect();
    Ok(CallSearchPage { hits, next, total: page.total, strategy: page.strategy })
}

/// The evidence of a record; `None` if an item of the search is in no text that the caller may see.
fn evidence(
    search: &ParsedSearch,
    record: &CallRecord,
    sees_phone_numbers: bool,
) -> Option<(Relevance, Vec<SearchEvidence>)> {
    let (mut best, mut all_items, mut matches, mut most_items) = (Vec::<MatchingText>::new(), 0_u32, 0, 0);
    let (mut places, mut last) = (0, String::new());
    visit_texts(record, &mut |covered| {
        if covered.is_phone_number && !sees_phone_numbers {
            return;
        }
        let text = normalized(covered.text);
        let text = TokenizedText::new(&text, covered.is_phone_number);
        let (mut items, mut ranges) = (0_u32, Vec::new());
        for (at, item) in search.items.iter().enumerate() {
            let found = text.matches(item);
            items |= u32::from(!found.is_empty()) << at.min(31);
            ranges.extend(found);
        }
        if items == 0 {
            return;
        }
        all_items |= items;
        matches += ranges.len();
        let items = items.count_ones();
        most_items = most_items.max(items);
        let place = place_of(covered.pointer);
        if place != last {
            places += 1;
            place.clone_into(&mut last);
        }
        let is_worse = |other: &MatchingText| other.items < items;
        // Of an item of the transcript, the first of the best texts is shown.
        if let Some(own) = best.iter().position(|other| other.place == places) {
            if !is_worse(&best[own]) {
                return;
            }
            best.remove(own);
        }
        let at = best.iter().position(is_worse).unwrap_or(best.len());
        if at == SearchEvidence::MAX || covered.pointer.len() > MAX_MEMBER_BYTES {
            return;
        }
        let (member, text) = (covered.pointer.to_owned(), covered.text.to_owned());
        best.insert(at, MatchingText { member, place: places, items, text, ranges: first_ranges(ranges) });
        best.truncate(SearchEvidence::MAX);
    });
    let is_whole = all_items.count_ones() as usize == search.items.len().min(32);
    let turns = if best.iter().any(|text| turn_of(&text.member).is_some()) { turns(record) } else { Vec::new() };
    let shown = best.iter().map(|text| show(text, &turns, record));
    (is_whole && all_items != 0).then(|| ((most_items, matches), shown.collect()))
}

/// The first ranges in order, each only once.
fn first_ranges(mut ranges: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    ranges.sort_unstable();
    let mut merged: Vec<(usize, usize)> = Vec::new();
    for (start, end) in ranges {
        let count = merged.len();
        match merged.last_mut() {
            Some(last) if start < last.1 => last.1 = last.1.max(end),
            _ if count == SearchEvidence::MAX_MATCHES => break,
            _ => merged.push((start, end)),
        }
    }
    merged
}

/// The item of an array that a pointer leads to, or the pointer.
fn place_of(pointer: &str) -> &str {
    let is_in_array = pointer.starts_with("/transcript/") || pointer.starts_with("/functionCalls/");
    let end = pointer.match_indices('/').nth(2).map_or(pointer.len(), |(at, _)| at);
    if is_in_array { &pointer[..end] } else { pointer }
}

fn turn_of(member: &str) -> Option<u32> {
    place_of(member).strip_prefix("/transcript/")?.parse().ok()
}

/// The items of the transcript.
fn turns(record: &CallRecord) -> Vec<&RawValue> {
    let json = record.transcript.as_ref().map_or("[]", |transcript| transcript.as_str());
    serde_json::from_str(json).unwrap_or_default()
}

fn show(found: &MatchingText, turns: &[&RawValue], record: &CallRecord) -> SearchEvidence {
    let (snippet, matches) = snippet(&found.text, &found.ranges);
    let turn = turn_of(&found.member);
    let item = turn.and_then(|turn| turns.get(turn as usize));
    let members: HashMap<String, &RawValue> =
        item.and_then(|item| serde_json::from_str(item.get()).ok()).unwrap_or_default();
    let role = ROLES.iter().find_map(|name| serde_json::from_str::<String>(members.get(*name)?.get()).ok());
    let time = TIMES.iter().find_map(|name| offset(members.get(*name)?.get(), record));
    let role = role.filter(|role| role.len() <= MAX_ROLE_BYTES);
    SearchEvidence { member: found.member.clone(), turn, role, time, snippet, matches, extra: Vec::new() }
}

/// The seconds from the start of the call: an offset as it is, a Unix time compared with the start.
fn offset(json: &str, record: &CallRecord) -> Option<Seconds> {
    let seconds: Seconds = json.parse().ok()?;
    if seconds.nanos().is_some() {
        return Some(seconds);
    }
    let (time, start) = (json.parse::<UnixSeconds>().ok()?.nanos()?, record.start_time.as_ref()?.nanos()?);
    let offset = ExactDecimal::from_nanos(i128::from(time) - i128::from(start), 0);
    offset.as_str().parse::<Seconds>().ok().filter(|offset| offset.nanos().is_some())
}

/// A part of a text with its first match, and the matches in it, in characters.
fn snippet(text: &str, ranges: &[(usize, usize)]) -> (String, Vec<[u32; 2]>) {
    let ranges = original_ranges(text, ranges);
    let first = ranges.first().map_or(0, |range| range.0);
    let most = SearchEvidence::MAX_SNIPPET_CHARS;
    // No more before the match than fits with what follows it.
    let rest = text.chars().skip(first).take(most).count();
    let start = piece_start(text, first.saturating_sub(CHARS_BEFORE.max(most - rest)));
    // A piece may be longer than a snippet, which has its match in any case.
    let end = ranges.first().map_or(0, |range| range.1);
    let start = start.max(end.saturating_sub(most).min(first));
    let snippet: String = text.chars().skip(start).take(most).collect();
    let position = |at: usize| u32::try_from(at.saturating_sub(start).min(most)).unwrap_or(u32::MAX);
    let matches = ranges.iter().map(|(from, to)| [position(*from), position(*to)]);
    (snippet, matches.filter(|[from, to]| from < to).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence_of(json: &str, search: &str, sees_phone_numbers: bool) -> Option<Vec<SearchEvidence>> {
        let members =
            r#""_id":"a","workspaceId":"w","createdAt":"2026-01-01T00:00:00Z","updatedAt":"2026-01-01T00:00:00Z""#;
        let free = r#""functionCalls":[],"analyzedData":{}"#;
        let json = format!("{{{members},{free},{}", &json[1..]);
        let record: CallRecord = serde_json::from_str(&json).unwrap();
        evidence(&ParsedSearch::parse(search), &record, sees_phone_numbers).map(|(_, evidence)| evidence)
    }

    fn marked(evidence: &SearchEvidence) -> Vec<String> {
        let part = |[from, to]: &[u32; 2]| {
            evidence.snippet.chars().skip(*from as usize).take((to - from) as usize).collect::<String>()
        };
        evidence.matches.iter().map(part).collect()
    }

    #[test]
    fn evidence_says_where_when_and_who() {
        let call = r#"{"metadata":{"a":[{"b/c":"Café Zürich"}]},"startTime":1700000000,"transcript":[
            {"role":"agent","start":1.50,"content":"How can I help?"},
            {"speaker":"user","timestamp":1700000004.5,"text":"My cafe\u0301 order","words":[{"w":"order","start":9}]}]}"#;
        let found = evidence_of(call, "order CAFE", true).unwrap();
        let members: Vec<_> = found.iter().map(|one| (one.member.as_str(), one.turn, one.role.as_deref())).collect();
        assert_eq!(members, [("/transcript/1/text", Some(1), Some("user")), ("/metadata/a/0/b~1c", None, None)]);
        assert_eq!(found[0].time.as_ref().map(Seconds::as_str), Some("4.5"));
        assert_eq!(
            (marked(&found[0]), marked(&found[1])),
            (vec!["cafe\u{301}".to_owned(), "order".to_owned()], vec!["Café".to_owned()])
        );
        let help = evidence_of(call, "help", true).unwrap();
        assert_eq!(help[0].time.as_ref().map(Seconds::as_str), Some("1.50"));
        assert!(evidence_of(call, "order missing", true).is_none());
    }

    #[test]
    fn a_snippet_is_short_and_has_the_match() {
        for (before, after) in [(0, 0), (10, 500), (500, 500), (500, 3), (1000, 0)] {
            let summary = format!("{}needle{}", "é ".repeat(before), " ü".repeat(after));
            let found =
                evidence_of(&serde_json::json!({"metadata": {}, "summary": summary}).to_string(), "needle", true);
            let found = found.unwrap();
            assert_eq!(marked(&found[0]), ["needle"], "{before} {after}");
            let chars = found[0].snippet.chars().count();
            assert_eq!(chars, summary.chars().count().min(SearchEvidence::MAX_SNIPPET_CHARS), "{before} {after}");
        }
    }

    #[test]
    fn a_match_after_a_long_sequence_of_marks_is_in_the_snippet() {
        for before in ["👩\u{200d}".repeat(100), format!("h{}i", "\u{301}".repeat(250))] {
            let summary = format!("{before} needle");
            let found =
                evidence_of(&serde_json::json!({"metadata": {}, "summary": summary}).to_string(), "needle", true);
            assert_eq!(marked(&found.unwrap()[0]), ["needle"], "{summary}");
        }
    }

    #[test]
    fn phone_numbers_are_no_evidence_for_everyone() {
        let call = r#"{"metadata":{},"fromPhoneNumber":"+49 (30) 901820","summary":"call 901820 back"}"#;
        let seen = evidence_of(call, "4930", true).unwrap();
        assert_eq!((seen[0].member.as_str(), marked(&seen[0])), ("/fromPhoneNumber", vec!["49 (30".to_owned()]));
        assert!(evidence_of(call, "4930", false).is_none());
        let hidden = evidence_of(call, "901820", false).unwrap();
        assert_eq!(hidden.iter().map(|one| one.member.as_str()).collect::<Vec<_>>(), ["/summary"]);
    }
}
