//! The schema and the decoder accept and refuse the same documents.

use std::sync::LazyLock;

use callhistory_model::{CallInput, CallRecord, FieldErrorCode, Handling, ParsedCall, Timestamp, schema::json_schemas};
use chrono::{DateTime, SecondsFormat};
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::Value;

/// Rules that JSON Schema cannot express.
const INEXPRESSIBLE: [FieldErrorCode; 5] = [
    FieldErrorCode::DuplicateMember,
    FieldErrorCode::InvalidTime,
    FieldErrorCode::ReservedId,
    FieldErrorCode::TooDeep,
    FieldErrorCode::WrongUnit,
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
        prop::sample::select(vec!["", ".5", ".123456789", "."]),
    );
    (
        parts,
        prop::sample::select(vec!["Z", "z", "", "+00:00", "-05:30", " Z"]),
        prop::sample::select(vec!["T", " ", "t"]),
    )
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
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The decoder also reads what the schema does not promise: numbers as texts, null for an absent member.
    #[test]
    fn the_decoder_accepts_what_the_schema_does(json in documents()) {
        let value: Value = serde_json::from_str(&json).unwrap();
        let schema_accepts = INPUT.is_valid(&value);
        if let Err(errors) = CallInput::parse(json.as_bytes(), Handling::Strict)
            && errors.iter().any(|error| !INEXPRESSIBLE.contains(&error.code))
        {
            prop_assert!(!schema_accepts, "only the schema takes {json}: {errors}");
        }
        prop_assert!(CallInput::parse(json.as_bytes(), Handling::Lenient).is_ok(), "{json}");
    }

    #[test]
    fn a_written_record_fits_the_schema_and_can_be_read(json in documents(), handling in prop::sample::select(vec![Handling::Strict, Handling::Lenient])) {
        let Ok(ParsedCall { mut input, warnings, .. }) = CallInput::parse(json.as_bytes(), handling) else { return Ok(()) };
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
        let is_warned = |name: &str| warnings.iter().any(|warning| warning.pointer.starts_with(&format!("/{name}")) && !warning.code.is_lossless());
        for (name, value) in sent.iter().filter(|(name, value)| !value.get().contains('"') && !is_warned(name)) {
            if value.get() != "null" && value.get() != "{\"customer_charge\":null}" && value.get() != "{\"other\":null}" {
                prop_assert_eq!(members[name].get(), value.get());
            }
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
        let value = input.start_time.unwrap().to_decimal().unwrap();
        prop_assert_eq!(value.to_string().parse::<f64>().unwrap(), time.parse::<f64>().unwrap());
    }

    #[test]
    fn times_are_those_of_chrono(text in prop_oneof![times(), nearly_times()]) {
        // chrono also accepts leap seconds, which Unix time does not have, and other separators, signs and digits.
        let is_plain = text.len() > 19 && text.is_ascii() && text.get(17..19) != Some("60")
            && matches!(text.as_bytes()[10], b'T' | b't') && text.as_bytes()[..19].iter().filter(|byte| byte.is_ascii_digit()).count() == 14;
        let moment = DateTime::parse_from_rfc3339(&text).ok().filter(|_| is_plain);
        let in_range = |nanos: &i64| (0..9_151_488_000_000_000_000).contains(nanos);
        let expected = moment.and_then(|moment| moment.timestamp_nanos_opt()).filter(in_range);
        prop_assert_eq!(text.parse::<Timestamp>().ok().map(|time| time.unix_nanos()), expected);
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
    let required: Vec<_> = schema("call-record")["required"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(required, ["_id", "workspaceId", "metadata", "functionCalls", "analyzedData", "createdAt", "updatedAt"]);
}
