//! The query parameters in the contract. The model has their names and reads them; here each has a schema, a description and an
//! example.

use callhistory_model::{
    CallFilter, CallRecord, ChangesQuery, ExportFormat, ExportQuery, GroupKey, ImportQuery, ListQuery,
    MAX_DATE_RANGE_CHARS, MAX_PARAMETER_BYTES, MAX_PATH_BYTES, MAX_SEARCH_CHARS, MAX_TIME_ZONE_CHARS, MetricsQuery,
    SearchQuery, SearchSort, Sort, UpdateQuery,
};
use serde_json::{Value, json};
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use crate::{
    headers::{CURSOR, cursor_schema, parameter},
    http::extract::Parameters,
};

/// A blank value counts as one that was not given.
fn text(max: usize) -> Value {
    json!({ "type": "string", "maxLength": max, "pattern": "^[^\\u0000]*$" })
}

/// A set may hold the empty text, which a member of a record may be.
fn set() -> Value {
    json!({ "type": "string", "maxLength": MAX_PARAMETER_BYTES, "pattern": "^[^\\u0000]*$" })
}

fn time() -> Value {
    json!({ "type": "string", "maxLength": 40 })
}

/// A number that keeps its digits.
fn number(least: i64, most: i64) -> Value {
    json!({ "type": "number", "format": "double", "minimum": least, "maximum": most, "x-max-decimal-places": 9 })
}

/// Some of a few names, each at most once, with commas between. It is a text and no array: generated clients send the items
/// of an array as parameters of their own. The names are in the description, so that a new one is compatible.
fn names(known: &[&str]) -> Value {
    json!({ "type": "string", "maxLength": known.join(",").len(), "pattern": "^([A-Za-z_]+(,[A-Za-z_]+)*)?$" })
}

fn describe_filter(name: &str) -> Value {
    let status = text(MAX_PARAMETER_BYTES);
    let (schema, example, description) = match name {
        "agentId" => (set(), json!("abcdef1234567890"), "Filter by agent ID. See *Filter syntax*."),
        "callFlowId" => (set(), json!("abcdef1234567890"), "Filter by call flow ID. See *Filter syntax*."),
        "pathwayId" => (set(), json!("abcdef1234567890"), "Alias of `callFlowId`; only one of the two may be given."),
        "batchId" => (set(), json!("batch-7"), "Filter by batch ID. See *Filter syntax*."),
        "status" => (status, json!("completed,failed"), "Filter by call status. See *Filter syntax*."),
        "outcome" => (
            text(MAX_PARAMETER_BYTES),
            json!("completed,voicemail"),
            "Filter by the outcome, which the status implies: `completed`, `failed`, `no-answer`, `busy`, `canceled`, `voicemail`, \
             `live` or `unknown`. A comma-separated list; a leading `!` negates.",
        ),
        "answered" => (
            json!({ "type": "boolean" }),
            json!(true),
            "Filter by whether the call was answered: `answeredAt` is known and not before `startTime`, or the outcome is \
             `completed` or `voicemail`. Metrics count these calls as `answeredCalls`.",
        ),
        "direction" => (status, json!("inbound"), "Filter by call direction. See *Filter syntax*."),
        "callType" => (status, json!("sip"), "Filter by call type. See *Filter syntax*."),
        "fromPhoneNumber" => (set(), json!("+1800*"), "Filter by the caller's phone number. See *Filter syntax*."),
        "toPhoneNumber" => (set(), json!("+10000000001"), "Filter by the called phone number. See *Filter syntax*."),
        "phoneNumber" => (set(), json!("+1800*"), "Filter by the phone number of either side. See *Filter syntax*."),
        "currency" => (
            text(MAX_PARAMETER_BYTES),
            json!("USD"),
            "Filter by the currency of `cost`: codes of ISO 4217, compared without case. See *Filter syntax*.",
        ),
        "callIds" => (
            text(MAX_PARAMETER_BYTES),
            json!("call-1,call-2"),
            "Calls whose `_id` or `callId` is one of these: a comma-separated list or a JSON array of strings; at most 1000. A \
             space also matches `+`, which it is in a URL.",
        ),
        "postAnalysis" => (
            text(MAX_PARAMETER_BYTES),
            json!(r#"{"sentiment":"positive","score":{"gte":4}}"#),
            "Filter by `analyzedData`: a JSON object of members, with dots for nested ones. Each has the value that it must \
             equal, or an object of the operators `gt`, `gte`, `lt`, `lte`, `ne`, `in` (an array) and `exists`. Each \
             operator is a separate condition, at most 32 in total. An array passes if one of its items passes, and `ne` if \
             no item is equal.",
        ),
        "search" => (
            text(MAX_SEARCH_CHARS),
            json!("refund order"),
            "Full-text search: calls in which each word occurs. At most 16 words. See *Search*.",
        ),
        "timezone" => (
            json!({ "type": "string", "maxLength": MAX_TIME_ZONE_CHARS, "default": "UTC" }),
            json!("Europe/Berlin"),
            "IANA time zone of dates and times without a zone, and of the hours, days, weeks and months of metrics. See *Times*.",
        ),
        "metadata" => return describe_metadata(),
        _ => return describe_range(name),
    };
    json!({ "schema": schema, "example": example, "description": description })
}

/// The filters by ranges of times and numbers.
fn describe_range(name: &str) -> Value {
    let (duration, amount) = (number(0, 31_622_400), number(-1_000_000_000, 1_000_000_000));
    let (schema, example, description) = match name {
        "dateRange" => (
            text(MAX_DATE_RANGE_CHARS),
            json!(r#"{"from":"2026-01-01","to":"2026-01-31"}"#),
            "Calls that started in this range: a JSON object with `from` and `to`, or with `startDate` and `endDate`, of \
             which one may be missing. The range includes both ends; a date at its end includes the whole day. Not \
             allowed with `startedAfter` or `startedBefore`. See *Times*.",
        ),
        "startedAfter" => {
            (time(), json!("2023-01-01T00:00:00Z"), "Calls that started at or after this time. See *Times*.")
        }
        "startedBefore" => (time(), json!("2026-02-01"), "Calls that started before this time. See *Times*."),
        "updatedAfter" => {
            (time(), json!("2026-01-01"), "Records that were updated at or after this time. See *Times*.")
        }
        "updatedBefore" => (time(), json!("2026-02-01"), "Records that were updated before this time. See *Times*."),
        "minDuration" => (duration, json!(60), "Calls of at least this duration, in seconds."),
        "maxDuration" => (duration, json!(3600), "Calls of at most this duration, in seconds."),
        "minCost" => (
            amount,
            json!(0.5),
            "Calls whose `cost.customer_charge` is at least this amount, in the currency of the workspace.",
        ),
        "maxCost" => (
            amount,
            json!(20),
            "Calls whose `cost.customer_charge` is at most this amount, in the currency of the workspace.",
        ),
        _ => return Value::Null,
    };
    json!({ "schema": schema, "example": example, "description": description })
}

/// The schema of the filter by members of `metadata`. It has a name, because some generators need a class of their own in its place.
pub(super) fn metadata_filter() -> Value {
    json!({
        "description": "Values by the names of members of `metadata`.",
        "type": "object",
        "additionalProperties": set(),
        "maxProperties": CallFilter::MAX_METADATA,
    })
}

/// The one filter whose name the caller completes.
fn describe_metadata() -> Value {
    json!({
        "style": "deepObject",
        "explode": true,
        "schema": { "$ref": "#/components/schemas/MetadataFilter" },
        "example": { "ticket": "A-1009" },
        "description": "Filter by members of `metadata`: `metadata[NAME]=VALUE` or `metadata.NAME=VALUE`, with dots in `NAME` for a \
            nested member. Matches records in which it has this value, or is an array with it. Numbers are compared as numbers; \
            after a backslash, the value is only a text. `*` matches any value, `!*` none; `=VALUE` the only value, and \
            `=[VALUE]` one of several.",
    })
}

fn describe_list(name: &str) -> Value {
    let (limit, pages) = ((ListQuery::DEFAULT_LIMIT, ListQuery::MAX_LIMIT), ListQuery::MAX_PAGED_RECORDS);
    match name {
        "limit" => json!({
            "schema": { "type": "integer", "format": "int32", "minimum": 1, "maximum": limit.1, "default": limit.0 },
            "description": "Maximum number of records per page.",
            "example": 50,
        }),
        "cursor" => json!({
            "schema": cursor_schema(),
            "description": "Start of the page: the header `X-Next-Cursor` of the previous page, with the same filters and sort. A search \
                has pages in the order of time only.",
            "example": CURSOR,
        }),
        "page" => json!({
            "schema": { "type": "integer", "format": "int32", "minimum": 1, "maximum": pages },
            "description": "Page number, starting at 1, within the first 100,000 records; follow `Link` beyond them. Not \
                allowed with `cursor`.",
            "example": 1,
        }),
        "sort" => json!({
            "schema": {
                "type": "string",
                "enum": Sort::KEYS.iter().flat_map(|(key, _)| [format!("-{key}"), (*key).to_owned()]).collect::<Vec<_>>(),
                "default": "-startTime",
            },
            "description": "Sort key; with `-` in descending order. A record without the value sorts before all others in \
                ascending order.",
            "example": "-startTime",
        }),
        "fields" => json!({
            "schema": names(CallRecord::MEMBERS),
            "description": format!(
                "Comma-separated list of the members to return; all by default. Records are then partial: they lack members \
                 that `CallRecord` requires, so a client that checks them must read the response as plain JSON. The members \
                 are `{}`.",
                CallRecord::MEMBERS.join("`, `")
            ),
            "example": "_id,status,startTime",
        }),
        "includeTotal" => json!({
            "schema": { "type": "boolean", "default": false },
            "description": "Include the total number of matching records: in the header `X-Total-Count` of a list, as `total` of a search.",
            "example": true,
        }),
        _ => Value::Null,
    }
}

fn describe_search(name: &str) -> Value {
    let limit = (SearchQuery::DEFAULT_LIMIT, SearchQuery::MAX_LIMIT);
    match name {
        "q" => json!({
            "schema": text(MAX_SEARCH_CHARS),
            "required": true,
            "description": "The words to find, at most 16. See *Search*.",
            "example": "customer engagement",
        }),
        "limit" => json!({
            "schema": { "type": "integer", "format": "int32", "minimum": 1, "maximum": limit.1, "default": limit.0 },
            "description": "Maximum number of hits per page.",
            "example": 10,
        }),
        "sort" => json!({
            "schema": {
                "type": "string",
                "enum": SearchSort::NAMES.map(|(name, _)| name),
                "default": "relevance",
            },
            "description": "Order of the hits. `relevance`: first those with most of the words in one text, then those with the \
                most matches, then the newest.",
            "example": "relevance",
        }),
        _ => describe_list(name),
    }
}

/// Two paths of members of metadata, and the other dimensions.
const MAX_GROUP_BY_CHARS: usize = GroupKey::MAX_METADATA_KEYS * MAX_PATH_BYTES + 256;

fn describe_metrics(name: &str) -> Value {
    match name {
        "groupBy" => json!({
            "schema": { "type": "string", "maxLength": MAX_GROUP_BY_CHARS, "pattern": "^([^,\\u0000]+(,[^,\\u0000]+)*)?$" },
            "description": "Comma-separated list of the dimensions to group by: `agentId`, `callFlowId`, `direction`, \
                `status`, `outcome`, `callType`, `batchId`, up to two members of metadata as `metadata.NAME`, and one of \
                `hour`, `day`, `week` and `month`. A number and a text that is spelled like it are one group; a member that is an \
                object, an array, or a text of more than 1,024 bytes is in the group `[]`.",
            "example": "day",
        }),
        "fill" => json!({
            "schema": { "type": "boolean", "default": false },
            "description": "Add the hours, days, weeks or months without calls, which `groupBy` must have: between the bounds \
                of the filter, or else from the first to the last call. With other dimensions, for each combination of their \
                values that occurs. More than 10,000 groups are refused.",
            "example": true,
        }),
        _ => Value::Null,
    }
}

fn describe_export(name: &str) -> Value {
    match name {
        "format" => json!({
            "schema": { "type": "string", "enum": ExportFormat::NAMES.map(|(name, _)| name), "default": "ndjson" },
            "description": "Format of the export.",
            "example": "ndjson",
        }),
        "fields" => json!({
            "schema": {
                "type": "string",
                "maxLength": ExportQuery::COLUMNS.join(",").len(),
                "pattern": "^([A-Za-z_.]+(,[A-Za-z_.]+)*)?$",
            },
            "description": format!(
                "Comma-separated list of the members of `ndjson`, which stay in the order of the record, or of the columns of a \
                 table in their order. The columns are `{}`.",
                ExportQuery::COLUMNS.join("`, `")
            ),
            "example": "_id,status,startTime",
        }),
        "sort" => describe_list(name),
        "bom" => json!({
            "schema": { "type": "boolean", "default": false },
            "description": "Whether CSV begins with a byte order mark. Only with `format=csv`.",
            "example": false,
        }),
        _ => Value::Null,
    }
}

fn describe_update(name: &str) -> Value {
    match name {
        "upsert" => json!({
            "schema": { "type": "boolean", "default": false },
            "description": "Create the record from the patch if it does not exist: the first event of a call may be any.",
            "example": true,
        }),
        _ => Value::Null,
    }
}

fn describe_changes(name: &str) -> Value {
    let (limit, wait) = ((ChangesQuery::DEFAULT_LIMIT, ChangesQuery::MAX_LIMIT), ChangesQuery::MAX_WAIT_SECONDS);
    match name {
        "limit" => json!({
            "schema": { "type": "integer", "format": "int32", "minimum": 1, "maximum": limit.1, "default": limit.0 },
            "description": "Maximum number of changes per response. Not allowed with `Accept: text/event-stream`.",
            "example": 100,
        }),
        "cursor" => json!({
            "schema": cursor_schema(),
            "description": "`cursor` of the previous response, or `latest` for the end of the feed. Starts at the first \
                change by default.",
            "example": CURSOR,
        }),
        "wait" => json!({
            "schema": { "type": "integer", "format": "int32", "minimum": 0, "maximum": wait, "default": 0 },
            "description": "Long-poll timeout in seconds. Not allowed with `Accept: text/event-stream`.",
            "example": 30,
        }),
        _ => Value::Null,
    }
}

fn describe_import(name: &str) -> Value {
    match name {
        "mode" => json!({
            "schema": { "type": "string", "enum": ["replace", "merge", "create"], "default": "replace" },
            "description": "What happens to a record that exists already. `replace`: it is replaced, unless its status is \
                final and that of the import is not. `merge`: both are merged, so that the order of imports does not matter. \
                `create`: the new one is rejected, unless both are identical.",
            "example": "merge",
        }),
        "atomic" => json!({
            "schema": { "type": "boolean", "default": false },
            "description": "Whether nothing is written if a record is rejected. At most 10,000 records and 33,554,432 bytes.",
            "example": true,
        }),
        "restoreDeleted" => json!({
            "schema": { "type": "boolean", "default": false },
            "description": "Whether records are created again that were deleted. Otherwise they stay deleted, and are counted.",
            "example": true,
        }),
        "source" => json!({
            "schema": { "type": "string", "enum": ["generic"] },
            "description": "Where the records come from. `generic`: any platform; a record without `_id` and `callId` gets its \
                ID from a member in which platforms send it, or from its content. By default they are records of this API.",
            "example": "generic",
        }),
        _ => Value::Null,
    }
}

/// The contract of a query that the model reads: the names of its own parameters, and of the filters if it has them.
macro_rules! into_params {
    ($($query:ident: $describe:ident, $filters:expr;)+) => {
        $(impl IntoParams for Parameters<$query> {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                let own = $query::PARAMETERS.iter().map(|name| (*name, $describe(name)));
                let filters: Vec<&str> = $filters;
                let filters = filters.into_iter().map(|name| (name, describe_filter(name)));
                own.chain(filters).map(|(name, members)| parameter(ParameterIn::Query, name, &members).build()).collect()
            }
        })+
    };
}

into_params! {
    ListQuery: describe_list, CallFilter::PARAMETERS.to_vec();
    SearchQuery: describe_search, SearchQuery::filters().collect();
    MetricsQuery: describe_metrics, CallFilter::PARAMETERS.to_vec();
    ExportQuery: describe_export, CallFilter::PARAMETERS.to_vec();
    ChangesQuery: describe_changes, Vec::new();
    UpdateQuery: describe_update, Vec::new();
    ImportQuery: describe_import, Vec::new();
}
