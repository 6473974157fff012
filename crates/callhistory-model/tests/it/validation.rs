//! Validation: one error for each fault, with its pointer, code and detail.

use std::time::{Duration, Instant};

use callhistory_model::{Amount, CallInput, CallRecord, Handling, Timestamp};

/// Linear time is milliseconds and quadratic time hours, so that this limit also holds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn errors(json: &[u8]) -> Vec<String> {
    match CallInput::from_json(json) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .iter()
            .map(|error| {
                assert!(error.detail.len() > 8 && !error.detail.ends_with('.'), "{error:?}");
                format!("{} {}", error.pointer.as_deref().unwrap_or("-"), error.code)
            })
            .collect(),
    }
}

#[track_caller]
fn refused(json: impl AsRef<[u8]>, expected: &[&str]) {
    assert_eq!(errors(json.as_ref()), expected, "{}", String::from_utf8_lossy(json.as_ref()));
}

#[track_caller]
fn accepted(json: &str) {
    refused(json, &[]);
}

#[test]
fn a_document_must_be_one_json_object() {
    let deep = "[".repeat(1 << 20);
    for text in ["", " ", "{", "{]", "nul", "{} x", "{\"a\":}", "{'a':1}", "{a:1}", "{\"a\":01}", "{\"a\":+1}", &deep] {
        refused(text, &["- malformed"]);
    }
    refused(b"{\"summary\":\"\xff\"}", &["- malformed"]);
    for text in ["[]", "null", "1", "\"x\"", "true"] {
        refused(text, &[" wrong_type"]);
    }
    accepted(" \r\n\t{ } ");
}

#[test]
fn members_of_the_wrong_type_are_refused() {
    let kinds = [
        ("true", "boolean"),
        ("1", "number"),
        ("\"text\"", "string"),
        ("[]", "array"),
        ("{}", "object"),
        ("null", "null"),
    ];
    for name in CallRecord::MEMBERS {
        let expected = match *name {
            "startTime" | "endTime" | "answeredAt" | "duration" => "number",
            "cost" | "metadata" | "analyzedData" | "variables" => "object",
            "functionCalls" | "transcript" => "array",
            _ => "string",
        };
        for (value, kind) in kinds {
            let document = format!("{{\"{name}\": {value}}}");
            match kind {
                "null" => accepted(&document),
                // Times have a format.
                "string" if matches!(*name, "createdAt" | "updatedAt") => {
                    refused(&document, &[&format!("/{name} invalid_time")]);
                }
                _ if kind == expected => accepted(&document),
                "number" if *name == "cost" => accepted(&document),
                "array" if expected == "object" => accepted(&document),
                _ => {
                    refused(&document, &[&format!("/{name} wrong_type")]);
                    let detail = &CallInput::from_json(document.as_bytes()).unwrap_err()[0].detail;
                    assert!(detail.contains(kind) && detail.contains(expected), "{document}: {detail}");
                }
            }
        }
    }
}

#[test]
fn details_name_what_is_accepted() {
    let cases = [
        (r#"{"_id": "a/b"}"#, "contains '/'; an ID has no blanks"),
        (r#"{"_id": ""}"#, "1 to 256 bytes"),
        (r#"{"_id": "batch"}"#, "reserved"),
        (r#"{"workspaceId": "a/b"}"#, "only A-Z, a-z, 0-9 and _ . ~ : @ + = -"),
        (r#"{"startTime": 1680000000000}"#, "can only be milliseconds; seconds are expected"),
        (r#"{"endTime": 1680000000000000}"#, "can only be microseconds"),
        (r#"{"answeredAt": 1680000000000000000}"#, "can only be nanoseconds"),
        (r#"{"startTime": 1680000000, "endTime": 1680000300, "duration": 300000}"#, "can only be milliseconds"),
        (r#"{"cost": {"currency": "euro"}}"#, "three letters of ISO 4217"),
        (r#"{"createdAt": "yesterday"}"#, "like \"2025-01-01T10:00:00Z\""),
        ("[]", "a record is an object"),
        ("", "a JSON object is expected"),
    ];
    for (document, expected) in cases {
        let detail = &CallInput::from_json(document.as_bytes()).unwrap_err()[0].detail;
        assert!(detail.contains(expected), "{document}: {detail}");
    }
}

#[test]
fn unknown_and_repeated_members_are_refused() {
    let errors = CallInput::from_json(br#"{"agentID": "a", "wholly": 1, "a/b~c": 1}"#).unwrap_err();
    let found: Vec<_> = errors.iter().map(|error| error.pointer.as_deref().unwrap()).collect();
    assert_eq!(found, ["/agentID", "/wholly", "/a~1b~0c"]);
    assert!(errors[0].detail.contains("did you mean \"agentId\""), "{}", errors[0].detail);
    assert!(errors[1].detail.contains("metadata") && errors[1].detail.contains("lenient"), "{}", errors[1].detail);
    refused(r#"{"status": "a", "stat\u0075s": "b"}"#, &["/status duplicate_member"]);
    refused(r#"{"cost": {"a": 1, "a": 1}}"#, &["/cost duplicate_member"]);
    refused(r#"{"metadata": {"a": [0, {"b": 1, "\u0062": 1}]}}"#, &["/metadata/a/1/b duplicate_member"]);
    accepted(r#"{"metadata": {"a": {"b": 1}, "c": {"b": 1}, "b": ["a", "a"]}}"#);
}

#[test]
fn ids_of_the_trade_are_accepted() {
    let good = [
        "a",
        "A-Z_09",
        "1680000000.13",
        "call:1",
        "{1f0c8a1e}",
        "a84b4c76e66710@pc33.example.com",
        "3848276298220188511+K=",
        "ä",
        "通话",
        &"x".repeat(256),
    ];
    for good in good {
        accepted(&format!(r#"{{"_id": "{good}"}}"#));
    }
    let bad = [
        ("", "too_short"),
        ("a/b", "invalid_id"),
        ("a%62", "invalid_id"),
        ("a b", "invalid_id"),
        ("a\u{a0}b", "invalid_id"),
        ("a?b", "invalid_id"),
        ("a#b", "invalid_id"),
        (r"a\\b", "invalid_id"),
        (r#"a\"b"#, "invalid_id"),
        (r"a\u0007b", "invalid_id"),
        (".", "reserved_id"),
        ("..", "reserved_id"),
        ("batch", "reserved_id"),
        ("changes", "reserved_id"),
        ("export", "reserved_id"),
        ("metrics", "reserved_id"),
    ];
    for (bad, code) in bad {
        refused(format!(r#"{{"_id": "{bad}"}}"#), &[&format!("/_id {code}")]);
    }
    // Bytes count, because an index holds them.
    refused(format!(r#"{{"_id": "{}"}}"#, "ä".repeat(129)), &["/_id too_long"]);
    for good in ["w", "a.b~c:d@e+f=g-h_i", &"x".repeat(128), "batch"] {
        accepted(&format!(r#"{{"workspaceId": "{good}"}}"#));
    }
    for bad in ["ä", "a/b", "a b", "a,b"] {
        refused(format!(r#"{{"workspaceId": "{bad}"}}"#), &["/workspaceId invalid_id"]);
    }
    refused(format!(r#"{{"workspaceId": "{}"}}"#, "x".repeat(129)), &["/workspaceId too_long"]);
}

#[test]
fn numbers_are_kept_and_units_refused() {
    let time = [
        "0",
        "1737062894.9754236",
        "1.680000000e9",
        "9151488000",
        "-1",
        "-0",
        "1.0000000001",
        "1e-400",
        "0e20",
        "1e400",
        "1e-99999999999999999999",
        "99999999999.9",
        "-1680000000000",
    ];
    for good in time {
        accepted(&format!(r#"{{"startTime": {good}}}"#));
    }
    for bad in ["1680000000000", "1.68e12", "100000000000", "1680000000000000", "1680000000000000000"] {
        refused(format!(r#"{{"startTime": {bad}}}"#), &["/startTime wrong_unit"]);
    }
    for good in ["0.10", "-5", "1e3", "1000000000.000000001", "0.30000000000000004", "\"-0.0170\""] {
        accepted(&format!(r#"{{"cost": {{"customer_charge": {good}}}}}"#));
    }
    refused(r#"{"cost": {"a/b": true}}"#, &["/cost/a~1b wrong_type"]);
    for good in ["31622401", "-0.5", "-1589300000", "12.345678091049194", "\"17\""] {
        accepted(&format!(r#"{{"duration": {good}}}"#));
    }
    let span = |duration: &str| format!(r#"{{"startTime": 1000, "endTime": 1300, "duration": {duration}}}"#);
    for bad in ["300000", "299600", "300999", "300000000", "300000000000"] {
        refused(span(bad), &["/duration wrong_unit"]);
    }
    let short = r#"{"startTime": 1000, "endTime": 1000.5, "duration": 500}"#;
    refused(short, &["/duration wrong_unit"]);
    for good in ["300", "299", "0", "3000", "150000", "600000"] {
        accepted(&span(good));
    }
}

/// What filters and sums calculate with, and what counts as unknown.
#[test]
fn calculations_use_nine_places_half_to_even() {
    let nanos = |text: &str| text.parse::<Amount>().unwrap().nanos();
    let cases = [
        ("0", Some(0)),
        ("0.10", Some(100_000_000)),
        ("-1.5e-9", Some(-2)),
        ("2.5e-9", Some(2)),
        ("0.0000000025000000000000000001", Some(3)),
        ("0.30000000000000004", Some(300_000_000)),
        ("1e-400", Some(0)),
        ("0.0000000005", Some(0)),
        ("0.00000000051", Some(1)),
        ("1000000000", Some(1_000_000_000_000_000_000)),
        ("-1000000000", Some(-1_000_000_000_000_000_000)),
        ("1000000000.000000001", None),
        ("1e400", None),
        ("123456789012345678901234567890", None),
    ];
    for (text, expected) in cases {
        assert_eq!(nanos(text), expected, "{text}");
    }
    assert!("0.30000000000000004".parse::<Amount>().unwrap().is_rounded());
    assert!(!"0.1000000000000".parse::<Amount>().unwrap().is_rounded());
    let duration = |json: &str| {
        let mut input = CallInput::from_json(json.as_bytes()).unwrap();
        input.id = Some("c".parse().unwrap());
        input.workspace_id = Some("w".parse().unwrap());
        input.created_at = Some("2026-01-01T00:00:00Z".parse().unwrap());
        input.updated_at = input.created_at.clone();
        input.into_record().unwrap().duration_nanos()
    };
    assert_eq!(duration(r#"{"startTime": 1, "endTime": 3.5}"#), Some(2_500_000_000));
    assert_eq!(duration(r#"{"startTime": 1, "endTime": 3.5, "duration": 2}"#), Some(2_000_000_000));
    for unknown in [
        r#"{"startTime": 3, "endTime": 1}"#,
        r#"{"duration": -1589300000}"#,
        r#"{"startTime": 1, "endTime": 3, "duration": -1}"#,
        r#"{"duration": 31622401}"#,
        r#"{"startTime": -1, "endTime": 3}"#,
        r#"{"startTime": 0, "endTime": 1700000000}"#,
        "{}",
    ] {
        assert_eq!(duration(unknown), None, "{unknown}");
    }
}

#[test]
fn text_around_a_number_is_refused() {
    for text in [
        "", " 1", "1 ", "0e5 ", "1\n", "+1", ".5", "5.", "0x1", "01", "1_000", "NaN", "Infinity", "-", "--1", "1e",
        "1,0",
    ] {
        let error = text.parse::<Amount>().unwrap_err();
        assert_eq!(error.code.as_str(), "wrong_type", "{text:?}: {error}");
    }
}

#[test]
fn times_are_rfc_3339_with_their_zone() {
    for good in [
        "1970-01-01T00:00:00Z",
        "2259-12-31T23:59:59.999999999Z",
        "2024-02-29T12:00:00.5Z",
        "2025-01-01t10:00:00z",
        "2025-01-01T10:00:00+00:00",
        "2026-01-01T00:00:00.123456+05:30",
        "2025-01-01T10:00:00.1234567890123Z",
        "1970-01-01T00:00:00-01:00",
    ] {
        accepted(&format!(r#"{{"createdAt": "{good}"}}"#));
    }
    let bad = [
        "2025-01-01 10:00:00Z",
        "2025-1-01T10:00:00Z",
        " 2025-01-01T10:00:00Z",
        "2025-01-01T10:00:00+0100",
        "2025-01-01T10:00:00",
        "2025-01-01T10:00:00+25:00",
        "1970-01-01T00:00:00+01:00",
        "2025-01-01T10:00Z",
        "2025-01-01",
        "2025-02-30T10:00:00Z",
        "2025-02-29T10:00:00Z",
        "2025-13-01T10:00:00Z",
        "2025-01-01T24:00:00Z",
        "2025-01-01T23:59:60Z",
        "2025-01-01T10:00:00.Z",
        "2025-01-01T10:00:00,5Z",
        "+12026-01-01T10:00:00Z",
        "12026-01-01T10:00:00Z",
        "1969-12-31T23:59:59Z",
        "2260-01-01T00:00:00Z",
        "2025-01-01T10:00:0０Z",
        "1680000000",
        "",
    ];
    for text in bad {
        refused(format!(r#"{{"updatedAt": "{text}"}}"#), &["/updatedAt invalid_time"]);
    }
}

/// A wrong clock does not produce timestamps that the service cannot parse.
#[test]
fn timestamps_of_any_clock_can_be_parsed() {
    for seconds in [-1_000_000, 0, 1_767_225_600, 9_151_488_000, 200_000_000_000] {
        let stamp = Timestamp::from(chrono::DateTime::from_timestamp(seconds, 0).unwrap());
        assert_eq!(stamp.as_str().parse::<Timestamp>().unwrap(), stamp);
    }
}

#[test]
fn nesting_is_bounded_everywhere() {
    let nested = |levels: usize| format!(r#"{{"metadata": {}1{}}}"#, "{\"a\":".repeat(levels), "}".repeat(levels));
    accepted(&nested(120));
    let errors = CallInput::from_json(nested(121).as_bytes()).unwrap_err();
    assert_eq!(errors[0].code.as_str(), "too_deep");
    let arrays = |levels: usize| format!(r#"{{"functionCalls": {}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    accepted(&arrays(120));
    assert!(CallInput::from_json(arrays(121).as_bytes()).is_err());
    // Half a million levels neither overflow the stack nor take long, in any member.
    for name in ["metadata", "functionCalls", "cost", "status", "unknown"] {
        let hostile = format!("{{\"{name}\": {}{}}}", "[".repeat(1 << 19), "]".repeat(1 << 19));
        let started = Instant::now();
        assert!(CallInput::from_json(hostile.as_bytes()).is_err());
        assert!(CallInput::parse(hostile.as_bytes(), Handling::Lenient).is_ok());
        let lenient = serde_json::from_str::<CallRecord>(&hostile);
        assert!(lenient.is_err());
        assert!(started.elapsed() < PATIENCE, "{name} took {:?}", started.elapsed());
    }
}

#[test]
fn hostile_sizes_take_bounded_time() {
    let started = Instant::now();
    let long_name = format!(r#"{{"{}": 1}}"#, "n".repeat(1 << 20));
    assert!(CallInput::from_json(long_name.as_bytes()).is_err());
    let many: Vec<_> = (0..100_000).map(|n| format!("\"m{n}\":1")).collect();
    let many = format!("{{{}}}", many.join(","));
    assert_eq!(CallInput::from_json(many.as_bytes()).unwrap_err().len(), 100, "the list of errors is bounded");
    let digits = format!(r#"{{"startTime": {}, "metadata": {{"n": {}}}}}"#, "9".repeat(400_000), "9".repeat(400_000));
    let parsed = CallInput::parse(digits.as_bytes(), Handling::Strict).unwrap();
    assert_eq!(parsed.warnings[0].code.as_str(), "out_of_range");
    // Signs that are no number: each is looked at once.
    let signs = format!("{{\"a\": {}}}", "-+".repeat(1 << 19));
    assert!(CallInput::parse(signs.as_bytes(), Handling::Lenient).is_err());
    let lenient = CallInput::parse(many.as_bytes(), Handling::Lenient).unwrap();
    assert_eq!((lenient.input.extra.len(), lenient.warnings.len()), (100_000, 100), "the list of warnings is bounded");
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}

#[test]
fn all_errors_are_reported_together() {
    refused(
        r#"{"startTime": "x", "status": 1, "extra": 1, "cost": {"customer_charge": "a"}, "duration": {}}"#,
        &[
            "/startTime wrong_type",
            "/status wrong_type",
            "/cost/customer_charge wrong_type",
            "/duration wrong_type",
            "/extra unknown",
        ],
    );
}
