//! The parameters of the routes as the contract describes them. Their reading is the model's; a test holds both together.

use callhistory_model::{
    CallFilter, CallRecord, ChangesQuery, GroupKey, ListQuery, MAX_DATE_RANGE_CHARS, MAX_PARAMETER_BYTES,
    MAX_SEARCH_CHARS, MAX_TIME_ZONE_CHARS, schema::carry,
};
use serde_json::{Value, json};
use utoipa::{
    IntoParams,
    openapi::{
        Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
    },
};

const SET: &str = "A comma-separated list matches any of its values, a leading `!` none of them; `*` alone matches any \
    value and `!*` records without one. A backslash escapes the next character.";
const PHONE: &str = "A comma-separated list of numbers, or of prefixes with a trailing `*`, matches any of them; a leading `!` \
    none of them. A backslash escapes the next character. A `+` that a URL decoded to a blank at the start of a number \
    is read as `+`.";
const MOMENT: &str = "RFC 3339, a date for the first moment of its UTC day, or Unix seconds.";

fn text(max: usize) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": max, "pattern": "^[^\\u0000]*$" })
}

/// A set may hold the empty text, which a member of a record may be.
fn set() -> Value {
    json!({ "type": "string", "maxLength": MAX_PARAMETER_BYTES, "pattern": "^[^\\u0000]*$" })
}

fn moment() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": 40, "examples": ["2026-01-31", "2026-01-31T10:00:00Z", "1769853600"] })
}

fn whole(least: u32, most: u32, default: Option<u32>) -> Value {
    let mut schema = json!({ "type": "integer", "minimum": least, "maximum": most });
    if let Some(default) = default {
        schema["default"] = default.into();
    }
    schema
}

/// A number that keeps its digits.
fn number(least: i64, most: i64) -> Value {
    json!({ "type": "number", "minimum": least, "maximum": most, "x-max-decimal-places": 9 })
}

/// A schema and a description for each parameter of the filters.
fn describe_filter(name: &str) -> (Value, String) {
    let (schema, description) = match name {
        "agentId" => (set(), format!("Filter by agent ID. {SET}")),
        "callFlowId" => (set(), format!("Filter by call flow ID. {SET}")),
        "pathwayId" => (set(), "Alias of `callFlowId`; only one of the two may be given.".to_owned()),
        "batchId" => (set(), format!("Filter by batch ID. {SET}")),
        "status" => (text(MAX_PARAMETER_BYTES), format!("Filter by call status. {SET}")),
        "direction" => (text(MAX_PARAMETER_BYTES), format!("Filter by call direction. {SET}")),
        "callType" => (text(MAX_PARAMETER_BYTES), format!("Filter by call type. {SET}")),
        "fromPhoneNumber" => (set(), format!("Filter by the caller's phone number. {PHONE}")),
        "toPhoneNumber" => (set(), format!("Filter by the called phone number. {PHONE}")),
        "phoneNumber" => (set(), format!("Filter by the phone number of either side. {PHONE}")),
        "callIds" => (
            text(MAX_PARAMETER_BYTES),
            "Records whose `_id` or `callId` is one of these: a JSON array of strings, or a comma-separated list; at \
             most 1000."
                .to_owned(),
        ),
        "dateRange" => (
            text(MAX_DATE_RANGE_CHARS),
            "A JSON object with `from` and `to`, or `startDate` and `endDate`, of which one may be missing: the time of \
             the call, in the forms of `startedAfter`. Both ends belong to the range; a date at its end covers the whole \
             UTC day. Not together with `startedAfter` and `startedBefore`."
                .to_owned(),
        ),
        "startedAfter" => {
            (moment(), format!("Calls that started at or after this time; `createdAt` is used for records without `startTime`. {MOMENT}"))
        }
        "startedBefore" => {
            (moment(), format!("Calls that started before this time; `createdAt` is used for records without `startTime`. {MOMENT}"))
        }
        "updatedAfter" => (moment(), format!("Records that were updated at or after this time. {MOMENT}")),
        "updatedBefore" => (moment(), format!("Records that were updated before this time. {MOMENT}")),
        "minDuration" => (number(0, 31_622_400), "Calls of at least this duration, in seconds.".to_owned()),
        "maxDuration" => (number(0, 31_622_400), "Calls of at most this duration, in seconds.".to_owned()),
        "minCost" => {
            (number(-1_000_000_000, 1_000_000_000), "Calls whose `cost.customer_charge` is at least this amount, in the currency of the records.".to_owned())
        }
        "maxCost" => {
            (number(-1_000_000_000, 1_000_000_000), "Calls whose `cost.customer_charge` is at most this amount, in the currency of the records.".to_owned())
        }
        "postAnalysis" => (
            text(MAX_PARAMETER_BYTES),
            "A JSON object: members of `analyzedData`, by dots also inside others, each with a value that it must equal \
             or with an object of `gt`, `gte`, `lt`, `lte`, `ne`, `in` (an array) and `exists`. Each operator is a \
             test of its own; of an array, one of its items must pass it, and with `ne` none may be equal. At most 32 \
             conditions."
                .to_owned(),
        ),
        "search" => (
            text(MAX_SEARCH_CHARS),
            "Words that must all occur in the phone numbers, the summary, the metadata or the transcript, in any case; \
             three or more digits are also found inside a longer number, fewer only as a whole word. At most 16."
                .to_owned(),
        ),
        _ => (Value::Null, String::new()),
    };
    (schema, description)
}

/// Some of a few names, each at most once, with commas between. It is a text and no array: generated clients send the items
/// of an array as parameters of their own. The names are in the description, so that a new one is compatible.
fn names<'a>(known: impl IntoIterator<Item = &'a str>, example: &str) -> Value {
    let longest = known.into_iter().collect::<Vec<_>>().join(",").len();
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": longest,
        "pattern": "^[A-Za-z_]+(,[A-Za-z_]+)*$",
        "examples": [example],
    })
}

fn parameter(name: &str, schema: Value, description: impl Into<String>) -> Parameter {
    let members = match schema {
        Value::Object(members) => members,
        _ => serde_json::Map::new(),
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(carry(members)))
        .build()
}

fn filters() -> Vec<Parameter> {
    let mut filters: Vec<_> = CallFilter::PARAMETERS
        .iter()
        .map(|name| {
            let (schema, description) = describe_filter(name);
            parameter(name, schema, description)
        })
        .collect();
    let description = "Write the name of a member of `metadata` for NAME, by dots also of one inside another: records in \
        which it has this value, or is an array with it. A number is compared as a number. At most 16 members.";
    filters.push(parameter("metadata.NAME", set(), description));
    filters
}

fn cursor(description: &str) -> Parameter {
    let schema = json!({ "type": "string", "minLength": 1, "maxLength": 512, "pattern": "^[A-Za-z0-9_-]+$" });
    parameter("cursor", schema, description)
}

/// The parameters of `list_calls`.
pub(crate) struct ListParameters;

impl IntoParams for ListParameters {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let sorts = ["startTime", "createdAt", "updatedAt", "duration", "cost"];
        let sorts: Vec<_> = sorts.iter().flat_map(|key| [format!("-{key}"), (*key).to_owned()]).collect();
        let mut parameters = vec![
            parameter(
                "limit",
                whole(1, ListQuery::MAX_LIMIT.into(), Some(ListQuery::DEFAULT_LIMIT.into())),
                "Maximum number of records of a page.",
            ),
            cursor("Start of the page, from the header `Link` of the previous page, with the same filters and sort."),
            parameter(
                "page",
                whole(1, ListQuery::MAX_PAGED_RECORDS, None),
                "The number of the page, from 1 on, within the first 10,000 records; beyond them follow `Link`. Not together with `cursor`.",
            ),
            parameter(
                "sort",
                json!({ "type": "string", "enum": sorts, "default": "-startTime" }),
                "Sort key; with `-` in descending order. A record without the value sorts before all others in ascending order.",
            ),
            parameter(
                "fields",
                names(CallRecord::MEMBERS.iter().copied(), "_id,status,startTime"),
                format!(
                    "Comma-separated list of the members to return; all by default. They are `{}`.",
                    CallRecord::MEMBERS.join("`, `")
                ),
            ),
            parameter(
                "includeTotal",
                json!({ "type": "boolean", "default": false }),
                "Include the total number of matching records in the header `X-Total-Count`.",
            ),
        ];
        parameters.extend(filters());
        parameters
    }
}

/// The parameters of `get_call_metrics`.
pub(crate) struct MetricsParameters;

impl IntoParams for MetricsParameters {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let group_by = names(GroupKey::KEYS.iter().map(|(name, _)| *name), "day,status");
        let mut parameters = vec![
            parameter(
                "groupBy",
                group_by,
                "Comma-separated list of the dimensions to group by: `agentId`, `callFlowId`, `direction`, `status`, `callType`, and one of `hour`, `day`, `week` and `month`.",
            ),
            parameter(
                "timezone",
                json!({ "type": "string", "minLength": 1, "maxLength": MAX_TIME_ZONE_CHARS, "default": "UTC", "examples": ["Europe/Berlin"] }),
                "The IANA time zone of hours, days, weeks and months; only together with one of them.",
            ),
        ];
        parameters.extend(filters());
        parameters
    }
}

/// The parameters of `export_calls`.
pub(crate) struct ExportParameters;

impl IntoParams for ExportParameters {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = json!({ "type": "string", "enum": ["ndjson", "csv"], "default": "ndjson" });
        let mut parameters = vec![parameter("format", schema, "Format of the export.")];
        parameters.extend(filters());
        parameters
    }
}

/// The parameters of `list_call_changes`.
pub(crate) struct ChangesParameters;

impl IntoParams for ChangesParameters {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut parameters = vec![
            cursor(
                "The `cursor` of the previous response, or `latest` for the end of the feed; the first change by default.",
            ),
            parameter(
                "limit",
                whole(1, ChangesQuery::MAX_LIMIT.into(), Some(ChangesQuery::DEFAULT_LIMIT.into())),
                "Maximum number of changes of a response. Not allowed with `text/event-stream`.",
            ),
            parameter(
                "wait",
                whole(0, ChangesQuery::MAX_WAIT_SECONDS.into(), Some(0)),
                "Long-poll timeout in seconds. Not allowed with `text/event-stream`.",
            ),
        ];
        let schema = json!({ "type": "string", "minLength": 1, "maxLength": 512, "pattern": "^[A-Za-z0-9_-]+$" });
        let members = schema.as_object().cloned().unwrap_or_default();
        parameters.push(
            ParameterBuilder::new()
                .name("last-event-id")
                .parameter_in(ParameterIn::Header)
                .required(Required::False)
                .description(Some("The `id` of the last event that was received; takes precedence over `cursor`. Only with `Accept: text/event-stream`."))
                .schema(Some(carry(members)))
                .build(),
        );
        parameters
    }
}

#[cfg(test)]
mod tests {
    use callhistory_model::{ExportQuery, MetricsQuery};

    use super::*;

    /// Every parameter that is read is described, and the other way round.
    #[test]
    fn the_contract_has_the_parameters_that_are_read() {
        let cases: [(Vec<Parameter>, &[&str], bool); 4] = [
            (ListParameters::into_params(|| None), ListQuery::PARAMETERS, true),
            (MetricsParameters::into_params(|| None), MetricsQuery::PARAMETERS, true),
            (ExportParameters::into_params(|| None), ExportQuery::PARAMETERS, true),
            (ChangesParameters::into_params(|| None), ChangesQuery::PARAMETERS, false),
        ];
        for (described, own, filtered) in cases {
            for parameter in &described {
                assert!(
                    parameter.description.as_ref().is_some_and(|text| !text.is_empty()),
                    "{} is not described",
                    parameter.name
                );
            }
            let mut described: Vec<_> = described.into_iter().map(|parameter| parameter.name).collect();
            described.retain(|name| !matches!(name.as_str(), "metadata.NAME" | "last-event-id"));
            let filters = if filtered { CallFilter::PARAMETERS } else { &[] };
            let mut read: Vec<_> = own.iter().chain(filters).map(|name| (*name).to_owned()).collect();
            described.sort();
            read.sort();
            assert_eq!(described, read);
        }
    }
}
