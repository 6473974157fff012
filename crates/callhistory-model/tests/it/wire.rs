//! Golden files: every version must read them, and write them digit for digit.

use callhistory_model::{CallInput, CallRecord, CallStatus, examples};

/// Each golden document as it was sent and as it is written. These files are never generated.
const GOLDEN: &[(&str, &str)] = &[
    (include_str!("golden/source.sent.json"), include_str!("golden/source.written.json")),
    (include_str!("golden/complete.sent.json"), include_str!("golden/complete.written.json")),
    (include_str!("golden/decimals.sent.json"), include_str!("golden/decimals.written.json")),
    (include_str!("golden/text.sent.json"), include_str!("golden/text.written.json")),
];

fn json(record: &CallRecord) -> String {
    String::from_utf8(record.to_json()).unwrap()
}

#[test]
fn golden_documents_are_read_and_written_unchanged() {
    for (sent, written) in GOLDEN {
        let input = CallInput::from_json(sent.as_bytes()).unwrap_or_else(|errors| panic!("{errors}: {sent}"));
        let record = input.into_record().unwrap();
        assert_eq!(json(&record), written.trim_end());
        let read: CallRecord = serde_json::from_str(written).unwrap();
        assert_eq!(read, record);
        assert_eq!(json(&read), written.trim_end());
    }
}

#[test]
fn an_input_is_written_as_it_is_read() {
    for (sent, _) in GOLDEN {
        let input = CallInput::from_json(sent.as_bytes()).unwrap();
        let written = serde_json::to_vec(&input).unwrap();
        assert_eq!(CallInput::from_json(&written).unwrap(), input);
    }
}

#[test]
fn free_form_members_default_to_empty() {
    let input = CallInput::from_json(
        br#"{"_id": "c", "workspaceId": "w", "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z"}"#,
    );
    let expected = r#"{"_id":"c","workspaceId":"w","metadata":{},"functionCalls":[],"analyzedData":{},"createdAt":"2026-01-01T00:00:00Z","updatedAt":"2026-01-01T00:00:00Z"}"#;
    assert_eq!(json(&input.unwrap().into_record().unwrap()), expected);
}

/// A client keeps the data of a newer service.
#[test]
fn unknown_members_and_values_are_kept() {
    let newer = r#"{"_id":"c","workspaceId":"w","status":"teleported","metadata":{},"functionCalls":[],"analyzedData":{},"createdAt":"2026-01-01T00:00:00Z","updatedAt":"2026-01-01T00:00:00Z","sentiment":{"score":0.90},"rank":12345678901234567890}"#;
    let record: CallRecord = serde_json::from_str(newer).unwrap();
    assert_eq!(record.status, Some(CallStatus::Other("teleported".to_owned())));
    assert_eq!(record.extra[0].0, "sentiment");
    assert_eq!(record.extra[0].1.as_str(), r#"{"score":0.90}"#);
    assert_eq!(json(&record), newer);
    // A null is read as absent.
    let with_null = newer.replace("\"teleported\"", "null");
    assert_eq!(serde_json::from_str::<CallRecord>(&with_null).unwrap().status, None);
}

#[test]
fn the_examples_have_every_member_in_order() {
    let complete: CallRecord = serde_json::from_str(examples::COMPLETE_EXAMPLE).unwrap();
    let text = json(&complete);
    let positions: Vec<_> =
        CallRecord::MEMBERS.iter().map(|name| text.find(&format!("\"{name}\":")).unwrap()).collect();
    assert!(positions.is_sorted(), "{text}");
    assert_eq!(CallRecord::MEMBERS.len(), 28);
    let source = json(&examples::source_example());
    assert!(CallRecord::MEMBERS[..18].iter().all(|name| source.contains(&format!("\"{name}\":"))), "{source}");
}

/// Reading, comparing and writing an unknown member does not recurse.
#[test]
fn an_unknown_member_of_any_depth_is_kept() {
    let start = json(&examples::source_example());
    let deep = format!("{},\"new\":{}{}}}", &start[..start.len() - 1], "[".repeat(1 << 20), "]".repeat(1 << 20));
    let record: CallRecord = serde_json::from_str(&deep).unwrap();
    assert_eq!(record, record.clone());
    assert!(json(&record) == deep);
    // A known member that is nested too deeply is kept as it is, and counts as empty.
    let deep = format!("{}1{}", "{\"a\":".repeat(121), "}".repeat(121));
    let too_deep = start.replace("\"metadata\":{}", &format!("\"metadata\":{deep}"));
    let record: CallRecord = serde_json::from_str(&too_deep).unwrap();
    assert_eq!((record.metadata.as_str(), record.extra[0].1.as_str()), ("{}", deep.as_str()));
}
