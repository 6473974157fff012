//! What a list, an export and the metrics may be asked for: filters and options as parameters write them.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::{
    analysis::AnalysisClause,
    number::{Amount, Seconds},
    problem::{FieldError, FieldErrorCode, FieldErrors},
    time::{Timestamp, is_date},
    value::OneOf,
};

/// The longest value of a parameter, in bytes after decoding.
pub const MAX_PARAMETER_BYTES: usize = 32 * 1024;
/// The longest `dateRange`, in characters.
pub const MAX_DATE_RANGE_CHARS: usize = 256;
/// The longest name of a time zone, in characters.
pub const MAX_TIME_ZONE_CHARS: usize = 64;
/// The longest search, in characters.
pub const MAX_SEARCH_CHARS: usize = 256;
/// The most words of one search.
const MAX_SEARCH_WORDS: usize = 16;
/// The longest path of a member of free-form JSON that filters reach, in bytes: names joined by dots.
pub const MAX_PATH_BYTES: usize = 1024;
const DATE_RANGE_NAMES: [&str; 4] = ["from", "to", "startDate", "endDate"];
const MAX_CALL_IDS: usize = 1000;
const MAX_METADATA_FILTERS: usize = 16;
const MAX_PARAMETERS: usize = 64;
const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// Which calls: every condition must hold. By default, all.
///
/// Moments and lengths are exact; the sets are described at [`OneOf`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallFilter {
    /// The agent that held the call.
    pub agent_id: Option<OneOf>,
    /// The call flow that the agent followed.
    pub call_flow_id: Option<OneOf>,
    /// The batch that the call belongs to.
    pub batch_id: Option<OneOf>,
    /// Where the call stands.
    pub status: Option<OneOf>,
    /// Who called whom.
    pub direction: Option<OneOf>,
    /// How the call was carried.
    pub call_type: Option<OneOf>,
    /// The caller.
    pub from_phone_number: Option<OneOf>,
    /// The called side.
    pub to_phone_number: Option<OneOf>,
    /// Either side; negated, neither.
    pub phone_number: Option<OneOf>,
    /// The `_id` or the `callId` is one of these; at most 1000.
    pub call_ids: Option<Vec<String>>,
    /// The call started at this moment or later; a record without `startTime` counts from its `createdAt`.
    pub started_after: Option<Timestamp>,
    /// The call started before this moment; a record without `startTime` counts from its `createdAt`.
    pub started_before: Option<Timestamp>,
    /// The record was changed at this moment or later.
    pub updated_after: Option<Timestamp>,
    /// The record was changed before this moment.
    pub updated_before: Option<Timestamp>,
    /// The call lasted at least so long.
    pub min_duration: Option<Seconds>,
    /// The call lasted at most so long.
    pub max_duration: Option<Seconds>,
    /// The customer was charged at least so much.
    pub min_cost: Option<Amount>,
    /// The customer was charged at most so much.
    pub max_cost: Option<Amount>,
    /// What `analyzedData` must hold.
    pub post_analysis: Vec<AnalysisClause>,
    /// Members of `metadata` with the value that each must have; the name of a nested member has dots.
    pub metadata: Vec<(String, String)>,
    /// Words and fragments of numbers that must all be found in the phone numbers, the summary, the metadata or the
    /// transcript.
    pub search: Option<String>,
}

/// What the list is ordered by; a record without the value counts as less than all others. Equal records follow in the
/// order of their `_id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sort {
    /// The member.
    pub key: SortKey,
    /// Whether the smallest comes first.
    pub ascending: bool,
}

/// A member that lists can be ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortKey {
    /// `startTime`, or `createdAt` where it has none.
    #[default]
    StartTime,
    /// `createdAt`.
    CreatedAt,
    /// `updatedAt`.
    UpdatedAt,
    /// The length of the call: `duration`, or `endTime` less `startTime`.
    Duration,
    /// `cost.customer_charge`.
    CallCost,
}

impl Sort {
    const KEYS: [(&'static str, SortKey); 5] = [
        ("startTime", SortKey::StartTime),
        ("createdAt", SortKey::CreatedAt),
        ("updatedAt", SortKey::UpdatedAt),
        ("duration", SortKey::Duration),
        ("cost", SortKey::CallCost),
    ];
}

impl std::str::FromStr for Sort {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let (ascending, name) = text.strip_prefix('-').map_or((true, text), |name| (false, name));
        let key = Self::KEYS.iter().find(|(known, _)| *known == name);
        key.map(|(_, key)| Self { key: *key, ascending }).ok_or_else(|| {
            let names: Vec<_> = Self::KEYS.iter().map(|(name, _)| *name).collect();
            unknown_value(name, &names)
        })
    }
}

impl std::fmt::Display for Sort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = Self::KEYS.iter().find(|(_, key)| *key == self.key).map_or("", |(name, _)| name);
        write!(f, "{}{name}", if self.ascending { "" } else { "-" })
    }
}

/// The error of a value that is not one of a few.
pub(crate) fn unknown_value(text: &str, known: &[&str]) -> FieldError {
    let guess = nearest_name(text, known.iter().copied()).map(|known| format!("; did you mean {known:?}?"));
    let detail = format!("{text:?} is not one of {}{}", known.join(", "), guess.unwrap_or_default());
    FieldError::new(FieldErrorCode::Malformed, detail)
}

/// The known name that is most like a misspelt one.
pub fn nearest_name<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The distance takes time in the length of both, so a hostile name is not compared.
    if name.len() > 64 {
        return None;
    }
    let distance = |known: &str| strsim::osa_distance(&name.to_lowercase(), &known.to_lowercase());
    known.map(|known| (distance(known), known)).min().filter(|(distance, _)| *distance <= 2).map(|(_, known)| known)
}

/// Reads the parameters of a query string: hands each decoded pair to `read`, which says whether it knows the name, and
/// gathers every error.
pub(crate) fn read_parameters(
    query: &str,
    known: &[&[&str]],
    mut read: impl FnMut(&str, &str) -> Option<Result<(), FieldError>>,
) -> Result<(), FieldErrors> {
    let mut errors = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (decode(name), decode(value)) else {
            let name = decode(name).unwrap_or_else(|| "?".to_owned());
            let detail = "is not UTF-8 after percent-decoding, or has a % without two hexadecimal digits behind it";
            errors.push(FieldError::new(FieldErrorCode::InvalidString, detail).in_parameter(name));
            continue;
        };
        let result = if name.is_empty() {
            Err(FieldError::new(FieldErrorCode::Malformed, "is a parameter without a name"))
        } else if !seen.insert(name.clone()) {
            Err(FieldError::new(FieldErrorCode::Repeated, "stands more than once; values are separated by commas"))
        } else if value.len() > MAX_PARAMETER_BYTES {
            let detail = format!("has {} bytes; at most {MAX_PARAMETER_BYTES} are accepted", value.len());
            Err(FieldError::new(FieldErrorCode::TooLong, detail))
        } else if value.contains('\0') {
            Err(FieldError::new(FieldErrorCode::NulCharacter, "contains the character U+0000"))
        } else {
            read(&name, &value).unwrap_or_else(|| Err(unknown_parameter(&name, known)))
        };
        if let Err(error) = result {
            errors.push(error.in_parameter(name));
        }
        if seen.len() > MAX_PARAMETERS || errors.len() >= MAX_PARAMETERS {
            errors.push(FieldError::new(
                FieldErrorCode::TooManyMembers,
                format!("has more than {MAX_PARAMETERS} parameters"),
            ));
            break;
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(FieldErrors(errors)) }
}

fn unknown_parameter(name: &str, known: &[&[&str]]) -> FieldError {
    let detail = match nearest_name(name, known.iter().flat_map(|names| names.iter().copied())) {
        Some(known) => format!("is unknown; did you mean {known:?}?"),
        None => "is unknown here; the route's description lists its parameters".to_owned(),
    };
    FieldError::new(FieldErrorCode::Unknown, detail)
}

fn decode(text: &str) -> Option<String> {
    let plain = text.replace('+', " ");
    let is_escape = |rest: &str| rest.len() >= 2 && rest.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit);
    if !plain.split('%').skip(1).all(is_escape) {
        return None;
    }
    percent_decode_str(&plain).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// Writes `name=value` pairs as a query string.
pub(crate) struct QueryString(String);

impl QueryString {
    pub(crate) fn new() -> Self {
        Self(String::new())
    }

    pub(crate) fn push(&mut self, name: &str, value: impl std::fmt::Display) {
        // All that means something to a URL or a form, and the comma, which ends a link in the eyes of some who read it.
        const ESCAPED: &AsciiSet = &{
            let unreserved = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
            unreserved.remove(b'!').remove(b'*').remove(b'(').remove(b')').remove(b':').remove(b'@').remove(b'/')
        };
        let separator = if self.0.is_empty() { "" } else { "&" };
        let value = value.to_string();
        let name = utf8_percent_encode(name, ESCAPED);
        // Writing to a string does not fail.
        let _ = write!(self.0, "{separator}{name}={}", utf8_percent_encode(&value, ESCAPED));
    }

    pub(crate) fn push_some(&mut self, name: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.push(name, value);
        }
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}

impl CallFilter {
    /// The names of the parameters of filters; besides them, `metadata.` and the name of a member.
    pub const PARAMETERS: &'static [&'static str] = &[
        "agentId",
        "callFlowId",
        "pathwayId",
        "batchId",
        "status",
        "direction",
        "callType",
        "fromPhoneNumber",
        "toPhoneNumber",
        "phoneNumber",
        "callIds",
        "dateRange",
        "startedAfter",
        "startedBefore",
        "updatedAfter",
        "updatedBefore",
        "minDuration",
        "maxDuration",
        "minCost",
        "maxCost",
        "postAnalysis",
        "search",
    ];

    /// The filter as a query string; equal filters give equal texts.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut query = QueryString::new();
        self.write(&mut query);
        query.finish()
    }

    pub(crate) fn write(&self, query: &mut QueryString) {
        query.push_some("agentId", self.agent_id.as_ref());
        query.push_some("callFlowId", self.call_flow_id.as_ref());
        query.push_some("batchId", self.batch_id.as_ref());
        query.push_some("status", self.status.as_ref());
        query.push_some("direction", self.direction.as_ref());
        query.push_some("callType", self.call_type.as_ref());
        query.push_some("fromPhoneNumber", self.from_phone_number.as_ref());
        query.push_some("toPhoneNumber", self.to_phone_number.as_ref());
        query.push_some("phoneNumber", self.phone_number.as_ref());
        // As JSON, because the callId of a provider may have a comma.
        query.push_some("callIds", self.call_ids.as_ref().map(|ids| serde_json::Value::from(ids.clone())));
        query.push_some("startedAfter", self.started_after.as_ref());
        query.push_some("startedBefore", self.started_before.as_ref());
        query.push_some("updatedAfter", self.updated_after.as_ref());
        query.push_some("updatedBefore", self.updated_before.as_ref());
        query.push_some("minDuration", self.min_duration.as_ref());
        query.push_some("maxDuration", self.max_duration.as_ref());
        query.push_some("minCost", self.min_cost.as_ref());
        query.push_some("maxCost", self.max_cost.as_ref());
        if !self.post_analysis.is_empty() {
            query.push("postAnalysis", AnalysisClause::to_json(&self.post_analysis));
        }
        for (name, value) in &self.metadata {
            query.push(&format!("metadata.{name}"), value);
        }
        query.push_some("search", self.search.as_ref());
    }

    /// Reads one parameter; `None` for a name that is none of a filter.
    pub(crate) fn read(&mut self, name: &str, value: &str) -> Option<Result<(), FieldError>> {
        let result = match name {
            "agentId" => set(&mut self.agent_id, OneOf::parse(value, false)),
            "callFlowId" | "pathwayId" if self.call_flow_id.is_some() => {
                let detail = "callFlowId and pathwayId are one parameter under two names; give one of them";
                Err(FieldError::new(FieldErrorCode::Conflict, detail))
            }
            "callFlowId" | "pathwayId" => set(&mut self.call_flow_id, OneOf::parse(value, false)),
            "batchId" => set(&mut self.batch_id, OneOf::parse(value, false)),
            "status" => set(&mut self.status, OneOf::parse_open(value)),
            "direction" => set(&mut self.direction, OneOf::parse_open(value)),
            "callType" => set(&mut self.call_type, OneOf::parse_open(value)),
            "fromPhoneNumber" => set(&mut self.from_phone_number, OneOf::parse(&with_plus(value), true)),
            "toPhoneNumber" => set(&mut self.to_phone_number, OneOf::parse(&with_plus(value), true)),
            "phoneNumber" => set(&mut self.phone_number, OneOf::parse(&with_plus(value), true)),
            "callIds" => set(&mut self.call_ids, call_ids(value)),
            "dateRange" => self.read_date_range(value),
            "startedAfter" => once(&mut self.started_after, Timestamp::parse_moment(value)),
            "startedBefore" => once(&mut self.started_before, Timestamp::parse_moment(value)),
            "updatedAfter" => set(&mut self.updated_after, Timestamp::parse_moment(value)),
            "updatedBefore" => set(&mut self.updated_before, Timestamp::parse_moment(value)),
            "minDuration" => set(&mut self.min_duration, value.parse()),
            "maxDuration" => set(&mut self.max_duration, value.parse()),
            "minCost" => set(&mut self.min_cost, value.parse()),
            "maxCost" => set(&mut self.max_cost, value.parse()),
            "postAnalysis" => AnalysisClause::parse(value).map(|conditions| self.post_analysis = conditions),
            "search" => set(&mut self.search, search(value)),
            _ => {
                let member = name.strip_prefix("metadata.")?;
                self.read_metadata(member, value)
            }
        };
        Some(result)
    }

    fn read_metadata(&mut self, member: &str, value: &str) -> Result<(), FieldError> {
        if member.is_empty() {
            return Err(FieldError::new(FieldErrorCode::Malformed, "names no member; write metadata.NAME=value"));
        }
        check_path(member)?;
        if self.metadata.len() == MAX_METADATA_FILTERS {
            let detail =
                format!("is one too many; at most {MAX_METADATA_FILTERS} members of metadata can be asked for");
            return Err(FieldError::new(FieldErrorCode::TooManyMembers, detail));
        }
        self.metadata.push((member.to_owned(), value.to_owned()));
        Ok(())
    }

    fn read_date_range(&mut self, json: &str) -> Result<(), FieldError> {
        let expected = "a JSON object like {\"from\":\"2026-01-01\",\"to\":\"2026-01-31\"}";
        let malformed = || FieldError::new(FieldErrorCode::Malformed, format!("is not {expected}"));
        at_most(json, MAX_DATE_RANGE_CHARS)?;
        // The strict reading refuses members that stand twice; the lenient one would take the last.
        json.parse::<crate::JsonObject>().map_err(|_| malformed())?;
        for (name, value) in crate::decode::object(json.trim()).map_err(|_| malformed())? {
            if !DATE_RANGE_NAMES.contains(&name.as_str()) {
                return Err(unknown_value(&name, &DATE_RANGE_NAMES));
            }
            let text = if value.starts_with('"') { crate::json::decode_string(value)? } else { value.to_owned() };
            let moment = Timestamp::parse_moment(&text).map_err(|error| error.prefix_pointer(&format!("/{name}")))?;
            match name.as_str() {
                "from" | "startDate" => once(&mut self.started_after, Ok(moment))?,
                _ => {
                    // The end belongs to the range: the whole day of a date, the very moment of a time.
                    let length = if is_date(&text) { NANOS_PER_DAY } else { 1 };
                    let end = Timestamp::from_unix_nanos(moment.unix_nanos().saturating_add(length));
                    once(&mut self.started_before, Ok(end))?;
                }
            }
        }
        match (&self.started_after, &self.started_before) {
            (None, None) => Err(malformed()),
            (Some(from), Some(to)) if from.unix_nanos() >= to.unix_nanos() => Err(FieldError::new(
                FieldErrorCode::EndBeforeStart,
                "ends before it begins: no record can be in this range",
            )),
            _ => Ok(()),
        }
    }

    /// Ranges that no record can be in.
    pub(crate) fn contradictions(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut check = |inverted: bool, low: &str, high: &str| {
            if inverted {
                let detail = format!("leaves nothing up to {high}: no record can be in this range");
                errors.push(FieldError::new(FieldErrorCode::EndBeforeStart, detail).in_parameter(low));
            }
        };
        let after = |low: &Option<Timestamp>, high: &Option<Timestamp>| matches!((low, high), (Some(low), Some(high)) if low.unix_nanos() >= high.unix_nanos());
        check(after(&self.started_after, &self.started_before), "startedAfter", "startedBefore");
        check(after(&self.updated_after, &self.updated_before), "updatedAfter", "updatedBefore");
        let longer =
            matches!((&self.min_duration, &self.max_duration), (Some(low), Some(high)) if low.nanos() > high.nanos());
        check(longer, "minDuration", "maxDuration");
        let dearer = matches!((&self.min_cost, &self.max_cost), (Some(low), Some(high)) if low.nanos() > high.nanos());
        check(dearer, "minCost", "maxCost");
        errors
    }
}

/// A number begins with no blank: one there is the plus that the URL has made a blank of.
fn with_plus(value: &str) -> String {
    let (mark, list) = value.strip_prefix('!').map_or(("", value), |rest| ("!", rest));
    let plus = |number: &str| number.strip_prefix(' ').map_or_else(|| number.to_owned(), |rest| format!("+{rest}"));
    format!("{mark}{}", list.split(',').map(plus).collect::<Vec<_>>().join(","))
}

/// Members are indexed, and can be asked for, up to this length of their path.
pub(crate) fn check_path(path: &str) -> Result<(), FieldError> {
    if path.len() > MAX_PATH_BYTES {
        let detail = format!("names a member by more than {MAX_PATH_BYTES} bytes");
        return Err(FieldError::new(FieldErrorCode::TooLong, detail));
    }
    Ok(())
}

pub(crate) fn set<T>(slot: &mut Option<T>, value: Result<T, FieldError>) -> Result<(), FieldError> {
    *slot = Some(value?);
    Ok(())
}

/// A bound that another parameter may have set already.
fn once(slot: &mut Option<Timestamp>, value: Result<Timestamp, FieldError>) -> Result<(), FieldError> {
    if slot.is_some() {
        let detail =
            "bounds the start of the call a second time; give either dateRange or startedAfter and startedBefore";
        return Err(FieldError::new(FieldErrorCode::Conflict, detail));
    }
    set(slot, value)
}

/// A JSON array of texts, or a list with commas.
fn call_ids(value: &str) -> Result<Vec<String>, FieldError> {
    let ids: Vec<String> = if value.trim_start().starts_with('[') {
        serde_json::from_str(value).map_err(|_| {
            FieldError::new(
                FieldErrorCode::Malformed,
                "is not a JSON array of strings like [\"a\",\"b\"], or a list like a,b",
            )
        })?
    } else {
        if value.split(',').any(|id| id.trim() != id) {
            let detail = "has a blank around an id; leave it out, or write a JSON array";
            return Err(FieldError::new(FieldErrorCode::Malformed, detail));
        }
        value.split(',').map(str::to_owned).collect()
    };
    if ids.is_empty() || ids.iter().any(String::is_empty) {
        return Err(FieldError::new(FieldErrorCode::TooShort, "is empty or has an empty id"));
    }
    if ids.len() > MAX_CALL_IDS {
        let detail = format!("has {} ids; at most {MAX_CALL_IDS} are accepted", ids.len());
        return Err(FieldError::new(FieldErrorCode::TooManyMembers, detail));
    }
    Ok(ids)
}

/// Refuses a text of more characters.
pub(crate) fn at_most(text: &str, chars: usize) -> Result<(), FieldError> {
    match text.chars().count() {
        count if count > chars => Err(FieldError::new(
            FieldErrorCode::TooLong,
            format!("has {count} characters; at most {chars} are accepted"),
        )),
        _ => Ok(()),
    }
}

fn search(value: &str) -> Result<String, FieldError> {
    at_most(value, MAX_SEARCH_CHARS)?;
    match words(value).count() {
        0 => Err(FieldError::new(FieldErrorCode::TooShort, "has no word and no number")),
        1..=MAX_SEARCH_WORDS => Ok(value.to_owned()),
        count => {
            let detail = format!("has {count} words; at most {MAX_SEARCH_WORDS} are accepted");
            Err(FieldError::new(FieldErrorCode::TooManyMembers, detail))
        }
    }
}

/// The words of a text as search compares them: runs of letters and digits, in lower case.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}
