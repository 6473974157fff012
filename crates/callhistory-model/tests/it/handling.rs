//! Strict and lenient handling: what is kept, converted, left out and refused, row by row of the table in `docs/data-model.md`.

use callhistory_model::{CallInput, CallPatch, CallRecord, FieldErrors, FieldWarning, Handling, ParsedCall};
use proptest::prelude::*;

/// The stored members and the warnings of a document.
fn read(json: impl AsRef<[u8]>, handling: Handling) -> Result<(String, Vec<String>), Vec<String>> {
    match CallInput::parse(json.as_ref(), handling) {
        Ok(ParsedCall { input, warnings, .. }) => {
            let describe = |warning: &FieldWarning| {
                assert!(warning.detail.len() > 8 && !warning.detail.ends_with('.'), "{warning:?}");
                format!("{} {}", warning.pointer, warning.code)
            };
            Ok((serde_json::to_string(&input).unwrap(), warnings.iter().map(describe).collect()))
        }
        Err(errors) => Err(errors
            .iter()
            .map(|error| format!("{} {}", error.pointer.as_deref().unwrap_or("-"), error.code))
            .collect()),
    }
}

#[track_caller]
fn lenient(sent: impl AsRef<[u8]>, stored: &str, warnings: &[&str]) {
    let (json, found) = read(&sent, Handling::Lenient).unwrap();
    assert_eq!((json.as_str(), found.iter().map(String::as_str).collect::<Vec<_>>()), (stored, warnings.to_vec()));
}

#[track_caller]
fn both(sent: impl AsRef<[u8]>, stored: &str, warnings: &[&str]) {
    lenient(&sent, stored, warnings);
    let (json, found) = read(&sent, Handling::Strict).unwrap();
    assert_eq!((json.as_str(), found.iter().map(String::as_str).collect::<Vec<_>>()), (stored, warnings.to_vec()));
}

#[track_caller]
fn refused(sent: &str, errors: &[&str]) {
    assert_eq!(read(sent, Handling::Strict).unwrap_err(), errors);
}

#[test]
fn null_is_absence() {
    both(
        r#"{"status": null, "cost": {"customer_charge": 1, "llm": null}, "metadata": null}"#,
        r#"{"cost":{"customer_charge":1}}"#,
        &[],
    );
    both(r#"{"strange": null}"#, "{}", &[]);
}

#[test]
fn odd_facts_are_kept_with_a_warning() {
    both(
        r#"{"startTime":1781699400.688,"endTime":1781699400.483}"#,
        r#"{"startTime":1781699400.688,"endTime":1781699400.483}"#,
        &["/endTime end_before_start"],
    );
    both(r#"{"duration":-1589300000}"#, r#"{"duration":-1589300000}"#, &["/duration out_of_range"]);
    both(r#"{"startTime":-1}"#, r#"{"startTime":-1}"#, &["/startTime out_of_range"]);
    both(r#"{"startTime":5,"answeredAt":4}"#, r#"{"startTime":5,"answeredAt":4}"#, &["/answeredAt end_before_start"]);
    both(
        r#"{"createdAt":"2026-01-02T00:00:00Z","updatedAt":"2026-01-01T00:00:00Z"}"#,
        r#"{"createdAt":"2026-01-02T00:00:00Z","updatedAt":"2026-01-01T00:00:00Z"}"#,
        &["/updatedAt end_before_start"],
    );
    both(
        r#"{"cost":{"customer_charge":0.30000000000000004},"duration":12.345678091049194}"#,
        r#"{"cost":{"customer_charge":0.30000000000000004},"duration":12.345678091049194}"#,
        &["/cost/customer_charge rounded", "/duration rounded"],
    );
    for (name, max) in
        [("agentId", 1024), ("fromPhoneNumber", 256), ("status", 256), ("recordingUrl", 8192), ("summary", 1 << 20)]
    {
        let long = |bytes: usize| format!(r#"{{"{name}":"{}"}}"#, "é".repeat(bytes / 2));
        both(long(max), &long(max), &[]);
        both(long(max + 2), &long(max + 2), &[&format!("/{name} too_long")]);
    }
    both(r#"{"direction":"","fromPhoneNumber":""}"#, r#"{"direction":"","fromPhoneNumber":""}"#, &[]);
}

#[test]
fn characters_that_are_none_are_replaced() {
    both(
        r#"{"summary":"bye \ud83d","transcript":[{"content":"\udc00 ok \ud83d\ude00"}]}"#,
        r#"{"summary":"bye �","transcript":[{"content":"\ufffd ok \ud83d\ude00"}]}"#,
        &["/summary characters_replaced", "/transcript characters_replaced"],
    );
    both(r#"{"agentId":"a\u0000b"}"#, r#"{"agentId":"a�b"}"#, &["/agentId characters_replaced"]);
    // Free-form data stay digit for digit, also a character that a column cannot hold.
    both(r#"{"metadata":{"a":"\u0000"}}"#, r#"{"metadata":{"a":"\u0000"}}"#, &[]);
    both(r#"{"metadata":{"\ud800":1}}"#, r#"{"metadata":{"\ufffd":1}}"#, &["/metadata characters_replaced"]);
    // A whole character, an escaped backslash before letters, and an escape at the end.
    both(r#"{"summary":"\\ud83d \ud83d\ude00 \\"}"#, r#"{"summary":"\\ud83d 😀 \\"}"#, &[]);
}

#[test]
fn facts_in_another_form_are_read() {
    both(
        r#"{"duration":"17","cost":{"customer_charge":"-0.200","currency":"USD"},"startTime":"1680000000"}"#,
        r#"{"startTime":1680000000,"cost":{"customer_charge":-0.200,"currency":"USD"},"duration":17}"#,
        &["/duration number_as_text", "/cost/customer_charge number_as_text", "/startTime number_as_text"],
    );
    both(
        r#"{"startTime":"2026-01-01T00:00:00.25Z","endTime":"2026-01-01T01:00:01+01:00"}"#,
        r#"{"startTime":1767225600.25,"endTime":1767225601}"#,
        &["/startTime time_as_text", "/endTime time_as_text"],
    );
    both(r#"{"cost":0}"#, r#"{"cost":{"customer_charge":0}}"#, &["/cost cost_as_number"]);
    both(
        r#"{"cost":"0.10"}"#,
        r#"{"cost":{"customer_charge":0.10}}"#,
        &["/cost cost_as_number", "/cost/customer_charge number_as_text"],
    );
    both(r#"{"timestamp":1737062894.97}"#, r#"{"startTime":1737062894.97}"#, &["/timestamp renamed"]);
    both(
        r#"{"metadata":[],"analyzedData":[ ],"variables":[],"cost":[]}"#,
        r#"{"cost":{},"metadata":{},"analyzedData":{},"variables":{}}"#,
        &["/metadata empty_array", "/analyzedData empty_array", "/variables empty_array", "/cost empty_array"],
    );
    both("\u{feff}{\"status\":\"x\"}", r#"{"status":"x"}"#, &[]);
}

#[test]
fn units_are_converted_in_lenient_handling() {
    lenient(r#"{"startTime":1680000000123}"#, r#"{"startTime":1680000000.123}"#, &["/startTime unit_converted"]);
    lenient(
        r#"{"startTime":"1680000000123456"}"#,
        r#"{"startTime":1680000000.123456}"#,
        &["/startTime number_as_text", "/startTime unit_converted"],
    );
    lenient(r#"{"endTime":1.68e18}"#, r#"{"endTime":1680000000}"#, &["/endTime unit_converted"]);
    lenient(
        r#"{"startTime":1680000000000,"endTime":1680000300000,"duration":300000}"#,
        r#"{"startTime":1680000000,"endTime":1680000300,"duration":300}"#,
        &["/startTime unit_converted", "/endTime unit_converted", "/duration unit_converted"],
    );
    refused(r#"{"startTime":1680000000000}"#, &["/startTime wrong_unit"]);
    refused(r#"{"startTime":1680000000,"endTime":1680000300,"duration":300000}"#, &["/duration wrong_unit"]);
}

#[test]
fn unknown_members_are_kept_at_top_level() {
    lenient(
        r#"{"sentiment": {"score": 0.90}, "agentID": "a", "rank": 12345678901234567890, "transcript": [], "endedReason": "x"}"#,
        r#"{"agentId":"a","sentiment":{"score":0.90},"rank":12345678901234567890,"endedReason":"x","transcript":[]}"#,
        &["/sentiment unknown_member", "/agentID renamed", "/rank unknown_member", "/endedReason unknown_member"],
    );
    // A member that the document has under its own name as well stays what it is.
    lenient(
        r#"{"call_id": "b", "callId": "a", "timestamp": 1, "startTime": 2}"#,
        r#"{"startTime":2,"callId":"a","call_id":"b","timestamp":1}"#,
        &["/call_id unknown_member", "/timestamp unknown_member"],
    );
    lenient(r#"{"start_time": "soon"}"#, r#"{"start_time":"soon"}"#, &["/start_time unknown_member"]);
    assert_eq!(read(r#"{"sentiment": 1}"#, Handling::Strict).unwrap().0, r#"{"sentiment":1}"#, "for check_extra");
    assert!(CallInput::from_json(br#"{"sentiment": 1}"#).is_err());
}

#[test]
fn a_strict_write_takes_the_unknown_members_that_the_record_has() {
    let stored = r#"{"_id":"c","workspaceId":"w","metadata":{},"functionCalls":[],"analyzedData":{},"createdAt":"2026-01-01T00:00:00Z","updatedAt":"2026-01-01T00:00:00Z","sentiment":1}"#;
    let stored: CallRecord = serde_json::from_str(stored).unwrap();
    let input = CallInput::from(stored.clone());
    assert_eq!(input.extra.len(), 1);
    input.check_extra(Some(&stored)).unwrap();
    let parsed = CallInput::parse(br#"{"sentiment": 2, "summry": "x"}"#, Handling::Strict).unwrap();
    let errors = parsed.input.check_extra(Some(&stored)).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().contains("/summry") && errors[0].detail.contains("\"summary\""), "{errors}");
}

#[test]
fn unreadable_members_are_left_out_in_lenient_handling() {
    lenient(
        r#"{"status": "ended", "agentId": {"a": 1}, "startTime": "soon", "metadata": "x", "transcript": "Agent: hi", "createdAt": "2026-01-01T00:00:00"}"#,
        r#"{"status":"ended"}"#,
        &[
            "/agentId left_out",
            "/startTime left_out",
            "/metadata left_out",
            "/transcript left_out",
            "/createdAt left_out",
        ],
    );
    lenient(
        r#"{"cost": {"customer_charge": 1, "parts": [1], "currency": "euro"}}"#,
        r#"{"cost":{"customer_charge":1}}"#,
        &["/cost/parts left_out", "/cost/currency left_out"],
    );
    lenient(
        r#"{"fromPhoneNumber": 4930123, "agentId": 7}"#,
        r#"{"agentId":"7","fromPhoneNumber":"4930123"}"#,
        &["/fromPhoneNumber text_as_number", "/agentId text_as_number"],
    );
    lenient(r#"{"_id": "a/b"}"#, "{}", &["/_id left_out"]);
    let deep = format!(r#"{{"metadata": {}1{}, "status": "x"}}"#, "[".repeat(200), "]".repeat(200));
    lenient(deep, r#"{"status":"x"}"#, &["/metadata left_out"]);
    // Hostile: nested more deeply than the stack is, behind a duplicate that would be resolved first.
    let hostile = format!(
        r#"{{"metadata": {{"a": 1, "a": 2, "b": {}1{}}}, "x": {{"a": 1, "a": {0}1{1}}}, "status": "x"}}"#,
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    lenient(hostile, r#"{"status":"x"}"#, &["/metadata left_out", "/x left_out"]);
    lenient(
        r#"{"cost": {"llm": "a", "llm": 1, "tax": 2, "tax": 3}}"#,
        r#"{"cost":{"llm":1,"tax":3}}"#,
        &["/cost duplicate_member"],
    );
    lenient(
        r#"{"status": "a", "metadata": {"b": 1, "b": [{"c": 1, "c": 2}]}, "status": "b"}"#,
        r#"{"status":"b","metadata":{"b":[{"c":2}]}}"#,
        &["/status duplicate_member", "/metadata duplicate_member"],
    );
}

#[test]
fn mongodb_extended_json_is_read_in_lenient_handling() {
    lenient(
        r#"{"_id":{"$oid":"67375a0f2b8c4e001f3d9a11"},"startTime":{"$numberLong":"1680000000"},"cost":{"customer_charge":{"$numberDecimal":"0.10"}},"duration":{"$numberInt":"17"},"createdAt":{"$date":"2026-01-01T00:00:00.5Z"},"updatedAt":{"$date":{"$numberLong":"1767225600500"}},"endTime":{"$date":1680000300250}}"#,
        r#"{"_id":"67375a0f2b8c4e001f3d9a11","startTime":1680000000,"endTime":1680000300.25,"cost":{"customer_charge":0.10},"createdAt":"2026-01-01T00:00:00.5Z","updatedAt":"2026-01-01T00:00:00.500Z","duration":17}"#,
        &[
            "/_id extended_json",
            "/startTime extended_json",
            "/cost/customer_charge extended_json",
            "/duration extended_json",
            "/createdAt extended_json",
            "/updatedAt extended_json",
            "/updatedAt extended_json",
            "/endTime extended_json",
        ],
    );
    // Free-form data are not a place where the service knows what a value means.
    lenient(r#"{"metadata":{"a":{"$oid":"b"}}}"#, r#"{"metadata":{"a":{"$oid":"b"}}}"#, &[]);
}

#[test]
fn what_is_almost_json_is_repaired_in_lenient_handling() {
    lenient(
        r#"{"duration": NaN, "cost": {"customer_charge": 1, "tax": -Infinity}, "status": "NaN", "metadata": {"a": [Infinity, 1]}}"#,
        r#"{"status":"NaN","cost":{"customer_charge":1},"metadata":{"a":[null,1]}}"#,
        &["/duration not_a_number", "/cost not_a_number", "/metadata not_a_number"],
    );
    lenient(
        b"{\"agent\": \"M\xfcller\", \"status\": \"x\"}",
        r#"{"status":"x","agent":"M�ller"}"#,
        &["/agent characters_replaced"],
    );
    lenient("{\"summary\": \"two\nlines\"}", r#"{"summary":"two\nlines"}"#, &["/summary characters_replaced"]);
    assert!(read(b"{\"agent\": \"M\xfcller\"}", Handling::Strict).is_err());
    both(r#"{"\ud800": null, "status": "x"}"#, r#"{"status":"x"}"#, &[" characters_replaced"]);
}

#[test]
fn an_id_is_derived_from_what_identifies_the_call() {
    let derived = |json: &str, of_any_source: bool| {
        let mut parsed = CallInput::parse(json.as_bytes(), Handling::Lenient).unwrap();
        let had_id = parsed.input.id.is_some();
        parsed.derive_id(json.as_bytes(), of_any_source);
        let is_derived = parsed.warnings.iter().any(|warning| warning.code.as_str() == "id_derived");
        assert_eq!(is_derived, !had_id && parsed.input.id.is_some(), "{json}");
        parsed.input.id.map(|id| id.to_string())
    };
    let cases = [
        (r#"{"_id":"a","callId":"b"}"#, "a"),
        (r#"{"callId":"CA12","id":"x"}"#, "CA12"),
        (r#"{"id":17}"#, "17"),
        (r#"{"call_sid":"CA0","sid":""}"#, "CA0"),
        (r#"{"uniqueid":"1680000000.13"}"#, "1680000000.13"),
    ];
    for (json, id) in cases {
        assert_eq!(derived(json, true).as_deref(), Some(id));
    }
    // An ID that cannot be one: its digest, whichever member it is in.
    assert_ne!(derived(r#"{"_id":"a/1","callId":"X"}"#, false), derived(r#"{"_id":"a/2","callId":"X"}"#, false));
    let digest = derived(r#"{"callId":"a/b c"}"#, false).unwrap();
    assert_eq!((digest.len(), Some(&digest)), (24, derived(r#"{"_id" : "a/b c"}"#, false).as_ref()));
    for nameless in [r#"{"status":"x"}"#, r#"{"id":"x"}"#] {
        assert_eq!(derived(nameless, false), None, "only the source generic has other IDs");
    }
    // An ID whose characters are lost is not the ID of two calls.
    let lost = [r#"{"_id":"\ud800","status":"a"}"#, r#"{"_id":"\ud801","status":"b"}"#]
        .map(|json| derived(json, false).unwrap());
    assert_ne!(lost[0], lost[1]);
    let of_document = derived(r#"{"status":"x"}"#, true).unwrap();
    assert_eq!(of_document.len(), 24);
}

/// The last row of the table: these reasons, and no other.
#[test]
fn lenient_handling_refuses_only_what_is_not_an_object() {
    for (text, error) in [
        ("", "- malformed"),
        ("{", "- malformed"),
        ("[1]", " wrong_type"),
        ("\"{}\"", " wrong_type"),
        ("{'a':1}", "- malformed"),
        ("NaN", "- malformed"),
    ] {
        assert_eq!(read(text, Handling::Lenient).unwrap_err(), [error], "{text}");
    }
}

/// A record that patches change.
fn stored() -> CallRecord {
    serde_json::from_str(
        r#"{"_id":"c","workspaceId":"w","status":"ringing","startTime":100,"endTime":400,"cost":{"customer_charge":1,"llm":2},"metadata":{"score":1,"x":{"y":1}},"functionCalls":[],"analyzedData":{},"createdAt":"2026-01-01T00:00:00Z","updatedAt":"2026-01-01T00:00:00Z","duration":7,"timestamp":5,"transcript":[1]}"#,
    )
    .unwrap()
}

/// The JSON of the record after a patch, the warnings, and whether an original is kept.
fn patched(patch: &[u8], handling: Handling) -> Result<(String, Vec<String>, bool), FieldErrors> {
    let stored = stored();
    let parsed = CallPatch::parse(patch, handling)?.apply(&stored, handling)?;
    let codes = parsed.warnings.iter().map(|warning| format!("{} {}", warning.pointer, warning.code)).collect();
    let mut input = parsed.input;
    (input.created_at, input.updated_at) = (Some(stored.created_at), Some(stored.updated_at));
    Ok((String::from_utf8(input.into_record().unwrap().to_json()).unwrap(), codes, parsed.is_changed))
}

/// A patch is read as a record is: what cannot be read does not remove what is stored.
#[test]
fn a_lenient_patch_follows_the_table() {
    let before = String::from_utf8(stored().to_json()).unwrap();
    let cases: [(&[u8], &str, &str, &[&str]); 16] = [
        (br#"{"transcript":"Agent: hi"}"#, "", "", &["/transcript left_out"]),
        (br#"{"startTime":"soon"}"#, "", "", &["/startTime left_out"]),
        (br#"{"duration":NaN}"#, "", "", &["/duration not_a_number"]),
        (br#"{"metadata":[]}"#, "", "", &["/metadata empty_array"]),
        (br#"{"createdAt":"2020-01-01T00:00:00Z","_id":null}"#, "", "", &["/createdAt left_out", "/_id left_out"]),
        (b"{\"status\":\"M\xfc\"}", "\"ringing\"", "\"M\u{fffd}\"", &["/status characters_replaced"]),
        (br#"{"Status":"ended"}"#, "\"ringing\"", "\"ended\"", &["/Status renamed"]),
        (br#"{"status":"a","status":"b"}"#, "\"ringing\"", "\"b\"", &["/status duplicate_member"]),
        (br#"{"cost":{"llm":null,"tax":"3"}}"#, "\"llm\":2", "\"tax\":3", &["/cost/tax number_as_text"]),
        (br#"{"cost":7}"#, "\"customer_charge\":1", "\"customer_charge\":7", &["/cost cost_as_number"]),
        (br#"{"metadata":{"score":null,"x":{"y":2}}}"#, "{\"score\":1,\"x\":{\"y\":1}}", "{\"x\":{\"y\":2}}", &[]),
        (br#"{"duration":null,"Duration":null}"#, "\"duration\":7,", "", &[]),
        (
            br#"{"startTime":100000000000}"#,
            "\"startTime\":100,",
            "\"startTime\":100000000,",
            &["/startTime unit_converted", "/endTime end_before_start"],
        ),
        (br#"{"duration":300000}"#, "\"duration\":7", "\"duration\":300", &["/duration unit_converted"]),
        (br#"{"sentiment":1}"#, "\"timestamp\":5", "\"timestamp\":5,\"sentiment\":1", &["/sentiment unknown_member"]),
        (
            br#"{"summary":"\ud83d"}"#,
            "\"analyzedData\"",
            "\"summary\":\"\u{fffd}\",\"analyzedData\"",
            &["/summary characters_replaced"],
        ),
    ];
    for (patch, old, new, warnings) in cases {
        let text = String::from_utf8_lossy(patch);
        let (json, codes, is_changed) = patched(patch, Handling::Lenient).unwrap();
        let expected = if old.is_empty() { before.clone() } else { before.replacen(old, new, 1) };
        assert_eq!((json, codes), (expected, warnings.iter().map(|code| (*code).to_owned()).collect()), "{text}");
        assert_eq!(
            is_changed,
            !warnings.iter().all(|code| code.contains("unknown") || code.contains("before")),
            "{text}"
        );
    }
}

#[test]
fn a_strict_patch_refuses_what_a_strict_record_does() {
    for (patch, error) in [
        (r#"{"transcript":"x"}"#, "/transcript wrong_type"),
        (r#"{"createdAt":"2020-01-01T00:00:00Z"}"#, "/createdAt not_writable"),
        (r#"{"_id":null}"#, "/_id not_writable"),
        (r#"{"duration":300000}"#, "/duration wrong_unit"),
        (r#"{"sentiment":1}"#, "/sentiment unknown"),
        (r#"{"Status":"x"}"#, "/Status unknown"),
    ] {
        let errors = patched(patch.as_bytes(), Handling::Strict).unwrap_err();
        let found: Vec<_> =
            errors.iter().map(|error| format!("{} {}", error.pointer.as_deref().unwrap(), error.code)).collect();
        assert_eq!(found, [error], "{patch}");
    }
    // What a patch does not name is not judged: a duration that is stored stays as it is.
    let (json, codes, _) = patched(br#"{"endTime":107000,"startTime":100000}"#, Handling::Strict).unwrap();
    assert!(json.contains("\"duration\":7") && codes.is_empty(), "{json}");
}

/// Any JSON value, with the names of members and of extended JSON.
fn any_json() -> impl Strategy<Value = String> {
    let names = "_id|workspaceId|startTime|endTime|duration|cost|customer_charge|currency|metadata|transcript|status|createdAt|timestamp|call_id|\\$oid|\\$date|\\$numberLong|[a-z\\PC]{0,4}";
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,22})?",
        "\\PC{0,12}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        "\"(\\\\u[0-9a-f]{4}|\\\\ud[89a-f][0-9a-f]{2}){0,4}\"",
        Just("\"2026-01-01T00:00:00Z\"".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        let member = (names, inner.clone())
            .prop_map(|(name, value)| format!("{}:{value}", serde_json::to_string(&name).unwrap()));
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// No object is refused, whatever it has; what was read can be written back strictly, and changes nothing then.
    #[test]
    fn no_object_is_refused_in_lenient_handling(json in any_json()) {
        let parsed = CallInput::parse(json.as_bytes(), Handling::Lenient);
        prop_assert_eq!(parsed.is_ok(), json.starts_with('{'), "{}", json);
        let Ok(ParsedCall { input, .. }) = parsed else { return Ok(()) };
        let written = serde_json::to_string(&input).unwrap();
        for handling in [Handling::Strict, Handling::Lenient] {
            let again = CallInput::parse(written.as_bytes(), handling);
            let again = again.map_err(|errors| TestCaseError::fail(format!("{errors}: {written} from {json}")))?;
            prop_assert!(!again.is_changed, "{:?}: {written} from {json}", again.warnings);
            prop_assert_eq!(&again.input, &input);
        }
    }
}
