//! Validation: one error for each fault, with its pointer, code and detail.

use std::time::{Duration, Instant};

use callhistory_model::{Amount, CallInput, CallRecord, Timestamp};

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
    for text in [
        "",
        " ",
        "{",
        "{]",
        "nul",
        "{} x",
        "{\"a\":}",
        "{'a':1}",
        "{a:1}",
        "\u{feff}{}",
        "{\"a\":01}",
        "{\"a\":+1}",
        &deep,
    ] {
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
            "startTime" | "endTime" | "duration" => "number",
            "cost" | "metadata" | "analyzedData" | "variables" => "object",
            "functionCalls" | "transcript" => "array",
            _ => "string",
        };
        for (value, kind) in kinds {
            let document = format!("{{\"{name}\": {value}}}");
            match kind {
                "null" => refused(&document, &[&format!("/{name} null_not_allowed")]),
                // Times have a format.
                "string" if name.ends_with("edAt") => refused(&document, &[&format!("/{name} invalid_time")]),
                _ if kind == expected => accepted(&document),
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
        (r#"{"_id": "a/b"}"#, "only the characters A-Z, a-z, 0-9, '_' and '-'"),
        (r#"{"_id": ""}"#, "1 to 128 characters"),
        (r#"{"_id": "batch"}"#, "reserved"),
        (r#"{"startTime": 1680000000000}"#, "Unix seconds are expected"),
        (r#"{"startTime": -1}"#, "from 0 up to the year 2260"),
        (r#"{"startTime": 1.0000000001}"#, "more than 9 decimal places"),
        (r#"{"duration": 31622401}"#, "366 days"),
        (r#"{"cost": {"customer_charge": 2e9}}"#, "from -1000000000 to 1000000000"),
        (r#"{"createdAt": "yesterday"}"#, "like \"2025-01-01T10:00:00Z\""),
        (r#"{"status": ""}"#, "omit the member"),
        (r#"{"agentId": null}"#, "omit a member without a value"),
        (r#"{"startTime": 2, "endTime": 1}"#, "before startTime 2"),
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
    assert!(errors[1].detail.contains("metadata"), "{}", errors[1].detail);
    refused(r#"{"status": "a", "stat\u0075s": "b"}"#, &["/status duplicate_member"]);
    refused(r#"{"cost": {"a": 1, "a": 1}}"#, &["/cost duplicate_member"]);
    refused(r#"{"metadata": {"a": [0, {"b": 1, "\u0062": 1}]}}"#, &["/metadata/a/1/b duplicate_member"]);
    accepted(r#"{"metadata": {"a": {"b": 1}, "c": {"b": 1}, "b": ["a", "a"]}}"#);
}

#[test]
fn invalid_text_is_refused() {
    refused(r#"{"summary": "a\u0000b"}"#, &["/summary nul_character"]);
    refused(r#"{"summary": "\ud800"}"#, &["/summary invalid_string"]);
    refused(r#"{"metadata": {"a": ["\udc00"]}}"#, &["/metadata/a/0 invalid_string"]);
    refused(r#"{"metadata": {"\ud800": 1}}"#, &["/metadata invalid_string"]);
    refused(r#"{"metadata": {"a": {"b\u0000": 1}}}"#, &["/metadata/a nul_character"]);
    refused(r#"{"cost": {"\u0000": 1}}"#, &["/cost nul_character"]);
    refused(r#"{"cost": {"\ud800": 1}}"#, &["/cost invalid_string"]);
    refused(r#"{"\ud800": 1}"#, &["- malformed"]);
    accepted(r#"{"summary": "\ud83d\ude00 \n\t\"\\", "metadata": {"\ud83d\ude00": "\\\"}{"}}"#);
}

#[test]
fn text_has_length_limits() {
    let text = |name: &str, chars: usize| format!(r#"{{"{name}": "{}"}}"#, "é".repeat(chars));
    for (name, max) in
        [("agentId", 256), ("roomName", 256), ("fromPhoneNumber", 128), ("callId", 256), ("recordingUrl", 2048)]
    {
        accepted(&text(name, max));
        refused(text(name, max + 1), &[&format!("/{name} too_long")]);
    }
    for name in ["status", "direction", "callType"] {
        accepted(&text(name, 64));
        refused(text(name, 65), &[&format!("/{name} too_long")]);
        refused(text(name, 0), &[&format!("/{name} too_short")]);
    }
    accepted(&text("summary", 32 * 1024));
    refused(text("summary", 32 * 1024 + 1), &["/summary too_many_bytes"]);
    let plain = |chars: usize| format!(r#"{{"summary": "{}"}}"#, "a".repeat(chars));
    accepted(&plain(64 * 1024));
    refused(plain(64 * 1024 + 1), &["/summary too_long"]);
}

#[test]
fn ids_are_validated() {
    for good in ["a", "A-Z_09", &"x".repeat(128)] {
        accepted(&format!(r#"{{"_id": "{good}", "workspaceId": "{good}"}}"#));
    }
    for (bad, code) in
        [("", "too_short"), ("a/b", "invalid_id"), ("a%62", "invalid_id"), ("ä", "invalid_id"), ("a b", "invalid_id")]
    {
        refused(format!(r#"{{"_id": "{bad}"}}"#), &[&format!("/_id {code}")]);
        refused(format!(r#"{{"workspaceId": "{bad}"}}"#), &[&format!("/workspaceId {code}")]);
    }
    refused(format!(r#"{{"_id": "{}"}}"#, "x".repeat(129)), &["/_id too_long"]);
    for word in ["batch", "changes", "export", "metrics"] {
        refused(format!(r#"{{"_id": "{word}"}}"#), &["/_id reserved_id"]);
        accepted(&format!(r#"{{"workspaceId": "{word}"}}"#));
    }
}

#[test]
fn numbers_have_ranges_and_units() {
    for good in ["0", "1737062894.9754236", "1.680000000e9", "1680000000.000000000", "9151487999.999999999", "-0"] {
        accepted(&format!(r#"{{"startTime": {good}}}"#));
    }
    let time = [
        ("1680000000000", "milliseconds"),
        ("1.68e12", "milliseconds"),
        ("9151488000", "out_of_range"),
        ("-1", "out_of_range"),
        ("1.0000000001", "too_many_decimals"),
        ("1e-400", "too_many_decimals"),
        ("0e-10", "too_many_decimals"),
        ("1e99999999999999999999", "out_of_range"),
        ("1e-99999999999999999999", "too_many_decimals"),
        ("1e400", "out_of_range"),
        ("1e-10", "too_many_decimals"),
        ("123456789012345678901234567890", "out_of_range"),
        ("\"1680000000\"", "wrong_type"),
    ];
    for (bad, code) in time {
        refused(format!(r#"{{"startTime": {bad}}}"#), &[&format!("/startTime {code}")]);
    }
    // Only the value counts, not its notation.
    for good in ["0e20", "-0E+999", "0.00000000001e18", "0.0000000000000000000000000000001e38"] {
        accepted(&format!(r#"{{"startTime": {good}}}"#));
    }
    for good in ["0.10", "-5", "1e3", "1.5E-2", "1000000000", "0.000000001"] {
        accepted(&format!(r#"{{"cost": {{"customer_charge": {good}}}}}"#));
    }
    for (bad, code) in
        [("1000000000.000000001", "out_of_range"), ("0.0000000001", "too_many_decimals"), ("true", "wrong_type")]
    {
        refused(format!(r#"{{"cost": {{"a/b": {bad}}}}}"#), &[&format!("/cost/a~1b {code}")]);
    }
    accepted(r#"{"duration": 31622400}"#);
    refused(r#"{"duration": 31622401}"#, &["/duration out_of_range"]);
    refused(r#"{"duration": -0.5}"#, &["/duration out_of_range"]);
    let many: Vec<_> = (0..65).map(|n| format!("\"c{n}\":1")).collect();
    refused(format!(r#"{{"cost": {{{}}}}}"#, many.join(",")), &["/cost too_many_members"]);
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
fn times_are_rfc_3339_in_utc() {
    for good in ["1970-01-01T00:00:00Z", "2259-12-31T23:59:59.999999999Z", "2024-02-29T12:00:00.5Z"] {
        accepted(&format!(r#"{{"createdAt": "{good}"}}"#));
    }
    let bad = [
        "2025-01-01 10:00:00Z",
        "2025-01-01t10:00:00z",
        "2025-1-01T10:00:00Z",
        " 2025-01-01T10:00:00Z",
        "2025-01-01T10:00:00+00:00",
        "2025-01-01T10:00:00+0100",
        "2025-01-01T10:00:00",
        "2025-01-01T10:00Z",
        "2025-01-01",
        "2025-02-30T10:00:00Z",
        "2025-02-29T10:00:00Z",
        "2025-13-01T10:00:00Z",
        "2025-01-01T24:00:00Z",
        "2025-01-01T23:59:60Z",
        "2025-01-01T10:00:00.Z",
        "2025-01-01T10:00:00.1234567890Z",
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
fn contradictory_members_are_refused() {
    refused(r#"{"startTime": 2, "endTime": 1.999999999}"#, &["/endTime end_before_start"]);
    accepted(r#"{"startTime": 2, "endTime": 2.0}"#);
    let times = |created: &str, updated: &str| format!(r#"{{"updatedAt": "{updated}", "createdAt": "{created}"}}"#);
    refused(times("2025-01-01T00:00:01Z", "2025-01-01T00:00:00.9Z"), &["/updatedAt end_before_start"]);
    accepted(&times("2025-01-01T00:00:01Z", "2025-01-01T00:00:01.0Z"));
}

#[test]
fn nesting_is_bounded_everywhere() {
    let nested = |levels: usize| format!(r#"{{"metadata": {}1{}}}"#, "{\"a\":".repeat(levels), "}".repeat(levels));
    accepted(&nested(64));
    let errors = CallInput::from_json(nested(65).as_bytes()).unwrap_err();
    assert_eq!(errors[0].code.as_str(), "too_deep");
    let arrays = |levels: usize| format!(r#"{{"functionCalls": {}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    accepted(&arrays(64));
    assert!(CallInput::from_json(arrays(65).as_bytes()).is_err());
    // Half a million levels neither overflow the stack nor take long, in any member.
    for name in ["metadata", "functionCalls", "cost", "status", "unknown"] {
        let hostile = format!("{{\"{name}\": {}{}}}", "[".repeat(1 << 19), "]".repeat(1 << 19));
        let started = Instant::now();
        assert!(CallInput::from_json(hostile.as_bytes()).is_err());
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
    // Errors of contradictory members count too.
    let unknown: String = (0..99).map(|n| format!("\"m{n}\":1,")).collect();
    let times = r#""createdAt": "2025-01-02T00:00:00Z", "updatedAt": "2025-01-01T00:00:00Z""#;
    let many = format!(r#"{{{unknown} "startTime": 2, "endTime": 1, {times}}}"#);
    assert_eq!(CallInput::from_json(many.as_bytes()).unwrap_err().len(), 100, "the list of errors is bounded");
    let digits = format!(r#"{{"startTime": {}, "metadata": {{"n": {}}}}}"#, "9".repeat(400_000), "9".repeat(400_000));
    refused(digits, &["/startTime out_of_range"]);
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}

#[test]
fn all_errors_are_reported_together() {
    refused(
        r#"{"startTime": "x", "status": 1, "cost": {"customer_charge": "1"}, "extra": 1, "agentId": null}"#,
        &[
            "/startTime wrong_type",
            "/status wrong_type",
            "/cost/customer_charge wrong_type",
            "/extra unknown",
            "/agentId null_not_allowed",
        ],
    );
}
