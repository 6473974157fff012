//! The preference of writes, their warnings, and originals.

use callhistory_client::{CallInput, CallPatch, Handling, WarningCode, model::examples};

use crate::{
    ID, client, input,
    stub::{Reply, Stub},
};

const PATCH: &str = r#"{"status":"busy"}"#;

fn written(headers: &[&str]) -> Reply {
    Reply::new(200, &[&["content-type: application/json"], headers].concat(), examples::SOURCE_EXAMPLE)
}

fn patch() -> CallPatch {
    CallPatch::from(CallInput { status: Some("busy".to_owned().into()), ..CallInput::default() })
}

#[tokio::test]
async fn writes_and_imports_send_the_preferred_handling() {
    for (handling, expected) in [
        (None, None),
        (Some(Handling::Strict), Some("handling=strict")),
        (Some(Handling::Lenient), Some("handling=lenient")),
    ] {
        let report = r#"{"created":1,"replaced":0,"merged":0,"unchanged":0,"stale":0,"deleted":0,"repeated":0,"skipped":0,
            "rejected":0,"warned":0,"aborted":false,"errors":[],"warnings":[]}"#;
        let stub = Stub::start([
            written(&[]),
            written(&[]),
            written(&[]),
            written(&[]),
            Reply::json(200, report),
            written(&[]),
        ])
        .await;
        let client = client(&stub.url);
        let client = handling.map_or(client.clone(), |handling| client.with(|options| options.handling(handling)));
        client.replace_call(ID, &input()).await.unwrap();
        client.create_call(&input()).await.unwrap();
        client.update_call(ID, &patch()).await.unwrap();
        client.upsert_call(ID, &patch()).await.unwrap();
        client.import_calls([input()]).await.unwrap();
        client.get_call(ID).await.unwrap();
        let seen = stub.seen();
        for request in &seen[..5] {
            assert_eq!(request.header("prefer"), expected, "{}", request.line);
        }
        assert_eq!(seen[5].header("prefer"), None);
    }
}

#[tokio::test]
async fn an_upsert_is_a_patch_with_a_parameter() {
    let stub = Stub::start([written(&[]), written(&[])]).await;
    let client = client(&stub.url).if_absent();
    client.update_call(ID, &patch()).await.unwrap();
    client.upsert_call(ID, &patch()).await.unwrap();
    let [update, upsert] = [&stub.seen()[0], &stub.seen()[1]];
    assert_eq!(update.line, format!("PATCH /v2/api/call-history/{ID}"));
    assert_eq!(upsert.line, format!("PATCH /v2/api/call-history/{ID}?upsert=true"));
    assert_eq!((upsert.body.as_str(), upsert.header("if-none-match")), (PATCH, Some("*")));
}

#[tokio::test]
async fn a_write_returns_its_version_and_warnings() {
    let header = r#"x-callhistory-warnings: [{"pointer":"/gef\u00fchl","code":"unknown_member"},{"pointer":"/duration","code":"later"}]"#;
    let stub = Stub::start([
        written(&["etag: \"7-aa\"", header]),
        written(&[]),
        written(&["x-callhistory-warnings: nonsense"]),
        written(&[]),
    ])
    .await;
    let client = client(&stub.url);
    let first = client.replace_call(ID, &input()).await.unwrap();
    let warnings: Vec<_> = first.warnings.iter().map(|w| (w.pointer.as_str(), w.code.clone())).collect();
    let later = WarningCode::Other("later".to_owned());
    assert_eq!(warnings, [("/gefühl", WarningCode::UnknownMember), ("/duration", later)]);
    for _ in 0..2 {
        let plain = client.replace_call(ID, &input()).await.unwrap();
        assert!(plain.version().is_err() && plain.warnings.is_empty());
    }
    client.if_version(first.version().unwrap()).replace_call(ID, &input()).await.unwrap();
    assert_eq!(stub.seen()[3].header("if-match"), Some("\"7-aa\""));
}

#[tokio::test]
async fn originals_are_read_by_number() {
    let list = r#"[{"number":1,"receivedAt":"2026-01-01T00:00:00Z","source":"api","mediaType":"application/json","bytes":2,
        "warnings":[{"pointer":"/duration","code":"left_out","detail":"is text"}],"later":true}]"#;
    let stub =
        Stub::start([Reply::json(200, list), Reply::new(200, &["content-type: text/csv; charset=x"], "a,b")]).await;
    let client = client(&stub.url);
    let originals = client.list_originals(ID).await.unwrap();
    assert_eq!((originals[0].number, originals[0].source.as_str()), (1, "api"));
    assert_eq!(originals[0].warnings[0].code, WarningCode::LeftOut);
    let original = client.get_original(ID, 1).await.unwrap();
    assert_eq!((original.body.as_slice(), original.media_type.as_str()), (&b"a,b"[..], "text/csv; charset=x"));
    let lines: Vec<_> = stub.seen().iter().map(|seen| seen.line.clone()).collect();
    let path = format!("GET /v2/api/call-history/{ID}/originals");
    assert_eq!(lines, [path.clone(), format!("{path}/1")]);
}

#[tokio::test]
async fn ids_are_encoded_in_paths() {
    let ids = [
        ("1680000000.13", "1680000000.13"),
        ("a@b:c+d=~", "a@b:c+d=~"),
        ("Müller", "M%C3%BCller"),
        ("{a}|<b>", "%7Ba%7D|%3Cb%3E"),
    ];
    let stub = Stub::start(ids.map(|_| written(&[]))).await;
    let client = client(&stub.url);
    for (id, _) in ids {
        client.get_call(id).await.unwrap();
    }
    for (seen, (_, encoded)) in stub.seen().iter().zip(ids) {
        assert_eq!(seen.line, format!("GET /v2/api/call-history/{encoded}"));
    }
}
