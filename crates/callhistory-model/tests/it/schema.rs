//! The schema and the decoder accept and refuse the same documents.

use std::sync::LazyLock;

use callhistory_model::{CallInput, CallRecord, FieldErrorCode, Timestamp, schema::json_schemas};
use chrono::{DateTime, SecondsFormat};
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::Value;

/// Rules that JSON Schema cannot express. Decoder and schema must agree on all others.
const INEXPRESSIBLE: [FieldErrorCode; 8] = [
    FieldErrorCode::DuplicateMember,
    FieldErrorCode::EndBeforeStart,
    FieldErrorCode::InvalidString,
    FieldErrorCode::NulCharacter,
    FieldErrorCode::ReservedId,
    FieldErrorCode::TooDeep,
    FieldErrorCode::TooManyBytes,
    FieldErrorCode::TooManyDecimals,
];

fn schema(name: &str) -> Value {
    json_schemas().into_iter().find(|(known, _)| *known == name).unwrap().1
}

/// The schema of an input: that of an import line, which alone requires an ID.
fn input_schema() -> Value {
    let mut input = schema("import-line");
    assert_eq!(input["required"], serde_json::json!(["_id"]));
    input.as_object_mut().unwrap().remove("required");
    input
}

fn validator(schema: &Value) -> Validator {
    jsonschema::options().should_validate_formats(true).build(schema).unwrap()
}

static INPUT: LazyLock<Validator> = LazyLock::new(|| validator(&input_schema()));
static RECORD: LazyLock<Validator> = LazyLock::new(|| validator(&schema("call-record")));

/// Values of every type around every limit.
fn values() -> impl Strategy<Value = String> {
    let text = |text: String| serde_json::to_string(&text).unwrap();
    prop_oneof![
        4 => "[A-Za-z0-9_-]{0,8}".prop_map(text),
        2 => "\\PC{0,12}".prop_map(text),
        1 => prop::sample::select(vec![0, 1, 63, 64, 65, 127, 128, 129, 255, 256, 257, 2048, 2049, 65_536, 65_537])
            .prop_map(move |length| text("x".repeat(length))),
        1 => prop::sample::select(vec!["batch", "metrics", "a/b", "a\u{0}b", "inbound", "completed"]).prop_map(move |t| text(t.to_owned())),
        3 => times().prop_map(text),
        3 => numbers(),
        2 => (values_of_cost(), any::<bool>()).prop_map(|(cost, wrap)| if wrap { format!("{{\"customer_charge\":{cost}}}") } else { format!("{{\"other\":{cost}}}") }),
        1 => prop::sample::select(vec!["true", "false", "null", "{}", "[]", "[{}]", "{\"a\":{\"b\":[1,2.50,\"x\"]}}", "[1,[2,[3]]]"]).prop_map(str::to_owned),
    ]
}

fn values_of_cost() -> impl Strategy<Value = String> {
    prop_oneof![4 => numbers(), 1 => Just("\"0.10\"".to_owned()), 1 => Just("null".to_owned())]
}

fn numbers() -> impl Strategy<Value = String> {
    prop_oneof![
        (-2_000_000_000i64..2_000_000_000, 0u32..12).prop_map(|(number, decimals)| {
            if decimals == 0 { number.to_string() } else { format!("{number}.{}", "7".repeat(decimals as usize)) }
        }),
        prop::sample::select(vec![
            "0",
            "-0",
            "0.10",
            "1e3",
            "1.5E-2",
            "31622400",
            "31622401",
            "1000000000",
            "1000000001",
            "-1000000000",
            "-1000000001",
            "9151487999",
            "9151488000",
            "99999999999",
            "100000000000",
            "1680000000000",
            "1e30",
            "0e20",
            "-0e999",
            "0.00000000001e18",
            "1e-400",
            "-1",
            "1680000000.5",
        ])
        .prop_map(str::to_owned),
    ]
}

fn times() -> impl Strategy<Value = String> {
    let parts = (
        1960i32..2270,
        0u32..14,
        0u32..33,
        0u32..26,
        0u32..62,
        0u32..62,
        prop::sample::select(vec!["", ".5", ".123456789", ".1234567890", "."]),
    );
    (parts, prop::sample::select(vec!["Z", "z", "", "+00:00", " Z"]), prop::sample::select(vec!["T", " ", "t"]))
        .prop_map(|((year, month, day, hour, minute, second, fraction), zone, separator)| {
            format!("{year}-{month:02}-{day:02}{separator}{hour:02}:{minute:02}:{second:02}{fraction}{zone}")
        })
}

fn documents() -> impl Strategy<Value = String> {
    let mut names: Vec<&str> = CallRecord::MEMBERS.to_vec();
    names.extend(["extra", "agentID", ""]);
    let count = names.len();
    // Few members a document, so that valid ones are common.
    let member = (0..count, values()).prop_map(move |(name, value)| (names[name], value));
    prop::collection::vec(member, 0..4).prop_map(|mut members| {
        members.sort_by_key(|(name, _)| *name);
        members.dedup_by_key(|(name, _)| *name);
        let members: Vec<_> = members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_decoder_and_the_schema_agree(json in documents()) {
        let value: Value = serde_json::from_str(&json).unwrap();
        let schema_accepts = INPUT.is_valid(&value);
        match CallInput::from_json(json.as_bytes()) {
            Ok(_) => prop_assert!(schema_accepts, "only the decoder takes {json}"),
            Err(errors) if errors.iter().any(|error| !INEXPRESSIBLE.contains(&error.code)) => {
                prop_assert!(!schema_accepts, "only the schema takes {json}: {errors}");
            }
            Err(_) => {}
        }
    }

    #[test]
    fn a_written_record_fits_the_schema_and_can_be_read(json in documents()) {
        let Ok(mut input) = CallInput::from_json(json.as_bytes()) else { return Ok(()) };
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        input.id.get_or_insert("c".parse().unwrap());
        input.workspace_id.get_or_insert("w".parse().unwrap());
        input.created_at.get_or_insert(now.clone());
        input.updated_at.get_or_insert(now);
        let record = input.into_record().unwrap();
        let written = record.to_json();
        prop_assert!(RECORD.is_valid(&serde_json::from_slice(&written).unwrap()), "{json}");
        prop_assert_eq!(&serde_json::from_slice::<CallRecord>(&written).unwrap(), &record);
        // Every number keeps its digits.
        let members: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> = serde_json::from_slice(&written).unwrap();
        let sent: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> = serde_json::from_str(&json).unwrap();
        for (name, value) in sent.iter().filter(|(_, value)| !value.get().contains('"')) {
            prop_assert_eq!(members[name].get(), value.get());
        }
    }
}

/// JSON numbers in all notations that every member accepts.
fn exact_numbers() -> impl Strategy<Value = String> {
    prop_oneof!["[1-9][0-9]{0,7}(\\.[0-9]{1,9})?", "0\\.[0-9]{1,9}", "[1-9](\\.[0-9]{1,9})?[eE]\\+?[0-6]"]
}

/// A valid time with up to two characters changed, added or removed.
fn nearly_times() -> impl Strategy<Value = String> {
    let edit =
        (0usize..32, 0u8..3, prop::char::ranges(vec!['0'..='9', '+'..=':', 'T'..='Z', ' '..=' ', '０'..='１'].into()));
    (0i64..9_151_488_000_000_000_000, prop::collection::vec(edit, 0..3)).prop_map(|(nanos, edits)| {
        let valid = DateTime::from_timestamp_nanos(nanos).to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let mut text: Vec<char> = valid.chars().collect();
        for (at, kind, with) in edits {
            let at = at % text.len();
            match kind {
                0 => text[at] = with,
                1 => text.insert(at, with),
                _ => drop(text.remove(at)),
            }
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_digit_is_lost(time in exact_numbers(), charge in exact_numbers(), free in "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?") {
        let sent = format!(r#"{{"startTime":{time},"cost":{{"customer_charge":{charge},"other":-{charge}}},"metadata":{{"a":[{free}]}}}}"#);
        let input = CallInput::from_json(sent.as_bytes()).map_err(|errors| TestCaseError::fail(format!("{errors}: {sent}")))?;
        prop_assert_eq!(String::from_utf8(serde_json::to_vec(&input).unwrap()).unwrap(), sent);
        // An independent parser reads the same value.
        let value = input.start_time.unwrap().to_decimal();
        prop_assert_eq!(value.to_string().parse::<f64>().unwrap(), time.parse::<f64>().unwrap());
    }

    /// The length of the fraction may differ.
    #[test]
    fn times_are_accepted_if_chrono_writes_them_in_the_same_way(text in prop_oneof![times(), nearly_times()]) {
        let moment = DateTime::parse_from_rfc3339(&text).ok();
        let written = moment.map(|moment| {
            let fraction = text.split_once('.').map_or(0, |(_, fraction)| fraction.len() - 1);
            let nanos = moment.to_utc().to_rfc3339_opts(SecondsFormat::Nanos, true);
            if fraction == 0 { format!("{}Z", &nanos[..19]) } else { format!("{}Z", &nanos[..(20 + fraction).min(29)]) }
        });
        let in_range = ("1970".."2260").contains(&text.get(..4).unwrap_or_default());
        // chrono accepts leap seconds, which Unix time does not have.
        let is_valid = in_range && written.as_ref() == Some(&text) && text.get(17..19) != Some("60");
        let parsed = text.parse::<Timestamp>().ok().map(|time| time.unix_nanos());
        let expected = moment.filter(|_| is_valid).and_then(|moment| moment.timestamp_nanos_opt());
        prop_assert_eq!(parsed, expected, "{:?}", written);
    }
}

#[test]
fn nothing_is_nullable_and_every_reference_resolves() {
    for schema in [input_schema(), schema("call-record"), schema("export-line")] {
        let text = schema.to_string();
        assert!(!text.contains("null"), "{text}");
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(schema.pointer(pointer).is_some(), "{pointer}");
        }
        assert_eq!(schema["properties"].as_object().unwrap().len(), CallRecord::MEMBERS.len());
    }
    assert_eq!(input_schema()["additionalProperties"], false);
    let required: Vec<_> = schema("call-record")["required"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(required, ["_id", "workspaceId", "metadata", "functionCalls", "analyzedData", "createdAt", "updatedAt"]);
}
