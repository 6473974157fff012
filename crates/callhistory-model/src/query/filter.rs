//! The filter of calls, which lists, exports and metrics share.

use super::{
    analysis::AnalysisClause,
    one_of::{OneOf, TextPattern},
    query_string::{METADATA, QueryString, metadata_member, set},
};
use crate::{
    Amount, CallOutcome, FieldError, FieldErrorCode, JsonObject, Seconds, TimeZone, Timestamp,
    field_error::check_length,
    record::cost::check_currency,
    spelling::{by_name, unknown_value},
    value::{
        extensible_enum::normalize_enum_value,
        raw_json::{decode_string, object},
        scalar::check_path,
        timestamp::is_date,
    },
};

/// Maximum length of `dateRange`, in characters.
pub const MAX_DATE_RANGE_CHARS: usize = 256;
/// Maximum length of `search`, in characters.
pub const MAX_SEARCH_CHARS: usize = 256;
/// Maximum number of words in `search`.
const MAX_SEARCH_WORDS: usize = 16;
const MAX_CALL_IDS: usize = 1000;

/// A filter of calls: a call matches if it matches every clause. The default matches all.
///
/// Times and durations are compared exactly; [`OneOf`] describes the sets.
///
/// ```
/// use callhistory_model::{CallFilter, CallStatus};
///
/// let filter = CallFilter::new().status(CallStatus::Completed).metadata("ticket", "A-1");
/// assert_eq!(filter.to_query(), "status=completed&metadata.ticket=A-1");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CallFilter {
    /// ID of the agent that handled the call.
    pub agent_id: Option<OneOf>,
    /// ID of the call flow.
    pub call_flow_id: Option<OneOf>,
    /// ID of the batch that the call belongs to.
    pub batch_id: Option<OneOf>,
    /// Call status; compared, as direction and transport are, in the form of [`normalize_enum_value`](crate::normalize_enum_value).
    pub status: Option<OneOf>,
    /// What the status says about the result of the call: values of [`CallOutcome`].
    pub outcome: Option<OneOf>,
    /// Whether the call was answered, as [`CallRecord::is_answered`](crate::CallRecord::is_answered) says.
    pub answered: Option<bool>,
    /// Call direction.
    pub direction: Option<OneOf>,
    /// Transport of the call.
    pub call_type: Option<OneOf>,
    /// Phone number of the caller. Numbers are compared in one form, which spellings and URIs of a number share.
    pub from_phone_number: Option<OneOf>,
    /// Phone number of the callee.
    pub to_phone_number: Option<OneOf>,
    /// Phone number of either side; negated, of neither side.
    pub phone_number: Option<OneOf>,
    /// `_id` or `callId` is one of these, or one of these with `+` in place of each blank; at most 1000.
    pub call_ids: Option<Vec<String>>,
    /// The call started at or after this time; a record without `startTime` counts with its `createdAt`.
    pub started_after: Option<Timestamp>,
    /// The call started before this time; a record without `startTime` counts with its `createdAt`.
    pub started_before: Option<Timestamp>,
    /// The record was updated at or after this time.
    pub updated_after: Option<Timestamp>,
    /// The record was updated before this time.
    pub updated_before: Option<Timestamp>,
    /// Minimum duration in seconds, inclusive.
    pub min_duration: Option<Seconds>,
    /// Maximum duration in seconds, inclusive.
    pub max_duration: Option<Seconds>,
    /// Minimum of `cost.customer_charge`, inclusive.
    pub min_cost: Option<Amount>,
    /// Maximum of `cost.customer_charge`, inclusive.
    pub max_cost: Option<Amount>,
    /// Currency of the cost, as codes of ISO 4217; compared without case.
    pub currency: Option<OneOf>,
    /// Clauses on `analyzedData`; at most 32.
    pub post_analysis: Vec<AnalysisClause>,
    /// Members of `metadata`, each with its value; the path of a nested member has dots. At most 16.
    pub metadata: Vec<(String, String)>,
    /// Words, phrases in quotation marks and fragments of numbers, at most 16 words in 256 characters. Each must occur in the phone
    /// numbers, `agent`, `callFlowName`, the summary, the metadata, `analyzedData`, `functionCalls` or the transcript.
    pub search: Option<String>,
    /// Time zone of dates and times without a zone, and of the time groups of metrics; UTC by default.
    pub time_zone: Option<TimeZone>,
}

filter_setters!(CallFilter {});

impl CallFilter {
    /// Maximum number of members of [`metadata`](Self::metadata).
    pub const MAX_METADATA: usize = 16;
    /// The names of the filter parameters. That of `metadata` is followed by a member: `metadata.NAME` or `metadata[NAME]`.
    pub const PARAMETERS: &'static [&'static str] = &[
        "agentId",
        "callFlowId",
        "pathwayId",
        "batchId",
        "status",
        "outcome",
        "answered",
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
        "currency",
        "postAnalysis",
        METADATA,
        "search",
        "timezone",
    ];

    /// The filter as a query string; equal filters give equal strings.
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
        query.push_some("outcome", self.outcome.as_ref());
        query.push_some("answered", self.answered);
        query.push_some("direction", self.direction.as_ref());
        query.push_some("callType", self.call_type.as_ref());
        query.push_some("fromPhoneNumber", self.from_phone_number.as_ref());
        query.push_some("toPhoneNumber", self.to_phone_number.as_ref());
        query.push_some("phoneNumber", self.phone_number.as_ref());
        // As JSON, because the callId of a provider can contain a comma.
        query.push_some("callIds", self.call_ids.as_ref().map(|ids| serde_json::Value::from(ids.clone())));
        query.push_some("startedAfter", self.started_after.as_ref());
        query.push_some("startedBefore", self.started_before.as_ref());
        query.push_some("updatedAfter", self.updated_after.as_ref());
        query.push_some("updatedBefore", self.updated_before.as_ref());
        query.push_some("minDuration", self.min_duration.as_ref());
        query.push_some("maxDuration", self.max_duration.as_ref());
        query.push_some("minCost", self.min_cost.as_ref());
        query.push_some("maxCost", self.max_cost.as_ref());
        query.push_some("currency", self.currency.as_ref());
        if !self.post_analysis.is_empty() {
            query.push("postAnalysis", AnalysisClause::to_json(&self.post_analysis));
        }
        for (name, value) in &self.metadata {
            let quote = if value.trim().is_empty() { "\"" } else { "" };
            query.push(&format!("{METADATA}.{name}"), format_args!("{quote}{value}{quote}"));
        }
        query.push_some("search", self.search.as_ref());
        query.push_some("timezone", self.time_zone);
    }

    /// Reads one parameter; `None` if its name is not a filter parameter.
    pub(crate) fn read(&mut self, name: &str, value: &str) -> Option<Result<(), FieldError>> {
        let zone = self.time_zone.unwrap_or_default();
        let time = |value| Timestamp::parse_in_zone(value, zone);
        let result = match name {
            "agentId" => set(&mut self.agent_id, OneOf::parse(value, false)),
            "callFlowId" | "pathwayId" if self.call_flow_id.is_some() => {
                let detail = "callFlowId and pathwayId are one parameter under two names; give one of them";
                Err(FieldError::new(FieldErrorCode::Conflict, detail))
            }
            "callFlowId" | "pathwayId" => set(&mut self.call_flow_id, OneOf::parse(value, false)),
            "batchId" => set(&mut self.batch_id, OneOf::parse(value, false)),
            "status" => set(&mut self.status, OneOf::parse_enum(value)),
            "outcome" => set(&mut self.outcome, outcomes(value)),
            "answered" => set(&mut self.answered, by_name(value, &[("true", true), ("false", false)])),
            "direction" => set(&mut self.direction, OneOf::parse_enum(value)),
            "callType" => set(&mut self.call_type, OneOf::parse_enum(value)),
            "fromPhoneNumber" => set(&mut self.from_phone_number, OneOf::parse(value, true)),
            "toPhoneNumber" => set(&mut self.to_phone_number, OneOf::parse(value, true)),
            "phoneNumber" => set(&mut self.phone_number, OneOf::parse(value, true)),
            "callIds" => set(&mut self.call_ids, call_ids(value)),
            "dateRange" => self.read_date_range(value),
            "startedAfter" => set_once(&mut self.started_after, time(value)),
            "startedBefore" => set_once(&mut self.started_before, time(value)),
            "updatedAfter" => set(&mut self.updated_after, time(value)),
            "updatedBefore" => set(&mut self.updated_before, time(value)),
            "minDuration" => set(&mut self.min_duration, value.parse().and_then(Seconds::check_exact)),
            "maxDuration" => set(&mut self.max_duration, value.parse().and_then(Seconds::check_exact)),
            "minCost" => set(&mut self.min_cost, value.parse().and_then(Amount::check_exact)),
            "maxCost" => set(&mut self.max_cost, value.parse().and_then(Amount::check_exact)),
            "currency" => set(&mut self.currency, currencies(value)),
            "postAnalysis" => AnalysisClause::parse(value).map(|clauses| self.post_analysis = clauses),
            "search" => set(&mut self.search, search(value)),
            "timezone" => set(&mut self.time_zone, value.parse()),
            METADATA => self.read_metadata(name, "", value),
            _ => self.read_metadata(name, metadata_member(name)?, value),
        };
        Some(result)
    }

    fn read_metadata(&mut self, name: &str, member: &str, value: &str) -> Result<(), FieldError> {
        if member.is_empty() {
            let detail = "has no member name; write metadata[NAME]=value or metadata.NAME=value";
            return Err(FieldError::new(FieldErrorCode::Malformed, detail));
        }
        if member.contains("][") && !name.starts_with("metadata.") {
            let detail = "names a nested member by several brackets; write metadata[A.B] or metadata.A.B";
            return Err(FieldError::new(FieldErrorCode::Malformed, detail));
        }
        check_path(member)?;
        if value.trim().is_empty() {
            return Ok(());
        }
        // The way to ask for a blank text.
        let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let value = quoted.filter(|text| text.trim().is_empty()).unwrap_or(value);
        if self.metadata.len() == Self::MAX_METADATA {
            let detail = format!("exceeds the limit of {} metadata filters", Self::MAX_METADATA);
            return Err(FieldError::new(FieldErrorCode::TooManyMembers, detail));
        }
        self.metadata.push((member.to_owned(), value.to_owned()));
        Ok(())
    }

    fn read_date_range(&mut self, json: &str) -> Result<(), FieldError> {
        let expected = "a JSON object like {\"from\":\"2026-01-01\",\"to\":\"2026-01-31\"}";
        let malformed = || FieldError::new(FieldErrorCode::Malformed, format!("is not {expected}"));
        check_length(json, MAX_DATE_RANGE_CHARS)?;
        let zone = self.time_zone.unwrap_or_default();
        // The strict parser refuses duplicate members; the lenient one would take the last.
        let range: JsonObject = json.parse().map_err(|_| malformed())?;
        for (name, value) in object(range.as_str())? {
            let text = if value.starts_with('"') { decode_string(value)? } else { value.to_owned() };
            let time = |text: &str| Timestamp::parse_in_zone(text, zone).map_err(|error| error.in_member(&name));
            match name.as_ref() {
                "from" | "startDate" => set_once(&mut self.started_after, time(&text))?,
                "to" | "endDate" => {
                    // The range includes its end: the whole day of a date, the instant of a time.
                    let end = match next_date(&text) {
                        Some(next) => time(&next)?,
                        None => Timestamp::from_unix_nanos(time(&text)?.unix_nanos().saturating_add(1)),
                    };
                    set_once(&mut self.started_before, Ok(end))?;
                }
                other => return Err(unknown_value(other, &["from", "to", "startDate", "endDate"])),
            }
        }
        match (&self.started_after, &self.started_before) {
            (None, None) => Err(malformed()),
            (Some(from), Some(to)) if from.unix_nanos() >= to.unix_nanos() => {
                Err(FieldError::new(FieldErrorCode::EndBeforeStart, "ends before it begins; no record can match"))
            }
            _ => Ok(()),
        }
    }

    /// The errors of ranges that no record can match.
    pub(crate) fn contradictions(&self) -> Vec<FieldError> {
        let time = |time: &Option<Timestamp>| time.as_ref().map(Timestamp::unix_nanos);
        let duration = |duration: &Option<Seconds>| duration.as_ref().and_then(Seconds::nanos);
        let cost = |cost: &Option<Amount>| cost.as_ref().and_then(Amount::nanos);
        // The end of a range of times is not part of it; other ranges include both bounds.
        let ranges = [
            ("startedAfter", time(&self.started_after), "startedBefore", time(&self.started_before), false),
            ("updatedAfter", time(&self.updated_after), "updatedBefore", time(&self.updated_before), false),
            ("minDuration", duration(&self.min_duration), "maxDuration", duration(&self.max_duration), true),
            ("minCost", cost(&self.min_cost), "maxCost", cost(&self.max_cost), true),
        ];
        let mut errors = Vec::new();
        for (low_name, low, high_name, high, is_inclusive) in ranges {
            if low.zip(high).is_some_and(|(low, high)| low > high || low == high && !is_inclusive) {
                let relation = if is_inclusive { "greater than" } else { "not before" };
                let detail = format!("is {relation} {high_name}; no record can match");
                errors.push(FieldError::new(FieldErrorCode::EndBeforeStart, detail).in_parameter(low_name));
            }
        }
        errors
    }
}

/// The date after a date; `None` for anything else.
fn next_date(text: &str) -> Option<String> {
    let date: chrono::NaiveDate = text.parse().ok().filter(|_| is_date(text))?;
    Some(date.succ_opt()?.to_string())
}

fn outcomes(value: &str) -> Result<OneOf, FieldError> {
    let set = OneOf::parse_enum(value)?.map(|name| normalize_enum_value(name).into_owned());
    // Every call has an outcome, so there is no `*`.
    let unknown = set.values.iter().find_map(|pattern| match pattern {
        TextPattern::Exact(name) => (!CallOutcome::KNOWN.contains(&name.as_str())).then_some(name.as_str()),
        TextPattern::Prefix(_) => Some("*"),
    });
    unknown.map_or(Ok(()), |name| Err(unknown_value(name, CallOutcome::KNOWN)))?;
    Ok(set)
}

fn currencies(value: &str) -> Result<OneOf, FieldError> {
    let set = OneOf::parse(value, false)?;
    for pattern in &set.values {
        if let TextPattern::Exact(code) = pattern {
            check_currency(code)?;
        }
    }
    Ok(set)
}

/// Sets a bound of the start time, which another parameter can have set already.
fn set_once(slot: &mut Option<Timestamp>, value: Result<Timestamp, FieldError>) -> Result<(), FieldError> {
    if slot.is_some() {
        let detail = "bounds the start time twice; use either dateRange or startedAfter and startedBefore";
        return Err(FieldError::new(FieldErrorCode::Conflict, detail));
    }
    set(slot, value)
}

/// Parses a JSON array of strings, or a comma-separated list.
fn call_ids(value: &str) -> Result<Vec<String>, FieldError> {
    let ids: Vec<String> = if value.trim_start().starts_with('[') {
        serde_json::from_str(value).map_err(|_| {
            FieldError::new(
                FieldErrorCode::Malformed,
                "is neither a JSON array of strings like [\"a\",\"b\"] nor a list like a,b",
            )
        })?
    } else {
        if value.split(',').any(|id| id.trim() != id) {
            let detail = "has white space around an ID; remove it, or write a JSON array";
            return Err(FieldError::new(FieldErrorCode::Malformed, detail));
        }
        value.split(',').map(str::to_owned).collect()
    };
    if ids.is_empty() || ids.iter().any(String::is_empty) {
        return Err(FieldError::new(FieldErrorCode::TooShort, "is empty or contains an empty ID"));
    }
    if ids.len() > MAX_CALL_IDS {
        let detail = format!("has {} IDs; at most {MAX_CALL_IDS} are accepted", ids.len());
        return Err(FieldError::new(FieldErrorCode::TooManyMembers, detail));
    }
    Ok(ids)
}

fn search(value: &str) -> Result<String, FieldError> {
    check_length(value, MAX_SEARCH_CHARS)?;
    // The store reads the words. Here they are counted, however their letters, marks and separators are encoded.
    let is_part = |c: char| c.is_alphanumeric() || !c.is_ascii() && !c.is_whitespace();
    let words = value.split(|c| !is_part(c)).filter(|word| word.contains(char::is_alphanumeric));
    match words.count() {
        0 => {
            let detail = "contains no word and no number; write words, \"a phrase\" or digits";
            Err(FieldError::new(FieldErrorCode::TooShort, detail))
        }
        1..=MAX_SEARCH_WORDS => Ok(value.to_owned()),
        count => {
            let detail = format!("has {count} words; at most {MAX_SEARCH_WORDS} are accepted");
            Err(FieldError::new(FieldErrorCode::TooManyMembers, detail))
        }
    }
}
