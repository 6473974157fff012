//! Strict and lenient handling of single writes: the preference, its answer, and the warnings.

use callhistory_client::{CallInput, CallPatch, CallStatus, model::Handling};
use reqwest::{Method, StatusCode};

use crate::{
    facts::warnings,
    harness::{CALLS, Response, Server},
};

/// A document that strict handling refuses.
const ODD: &str = r#"{"status":"completed","sentiment":"good"}"#;
const JSON: (&str, &str) = ("content-type", "application/json");

fn applied(response: &Response) -> Option<&str> {
    response.headers.get("preference-applied").map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn single_writes_are_strict_unless_the_caller_prefers_otherwise() {
    let server = Server::start().await;
    let path = format!("{CALLS}/c");
    server.put("c", &[], r#"{"status":"ringing"}"#).await;
    for (method, path, status) in
        [(Method::PUT, path.as_str(), 200), (Method::PATCH, path.as_str(), 200), (Method::POST, CALLS, 201)]
    {
        for headers in [&[JSON][..], &[JSON, ("prefer", "handling=strict")], &[JSON, ("prefer", "respond-async")]] {
            let refused = server.send(method.clone(), path, headers, ODD).await;
            assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{method}: {}", refused.body);
            assert_eq!(refused.json()["errors"][0]["pointer"], "/sentiment");
        }
        let kept = server.send(method.clone(), path, &[JSON, ("prefer", "handling=lenient")], ODD).await;
        assert_eq!(kept.status.as_u16(), status, "{method}: {}", kept.body);
        assert_eq!(applied(&kept), Some("handling=lenient"));
        assert_eq!(warnings(&kept), ["/sentiment unknown_member"]);
        assert!(kept.body.contains(r#""sentiment":"good""#), "{}", kept.body);
        server.send(Method::DELETE, &path.replace(CALLS, &format!("{CALLS}/c")).replace("/c/c", "/c"), &[], "").await;
        server.put("c", &[], r#"{"status":"ringing"}"#).await;
    }
}

#[tokio::test]
async fn the_preference_is_read_as_rfc_7240_says() {
    let server = Server::start().await;
    let lenient: [&[&str]; 9] = [
        &["handling=lenient"],
        &["HANDLING=Lenient"],
        &["handling=\"lenient\""],
        &["handling = lenient"],
        &["respond-async, wait=10, handling=lenient"],
        &["respond-async; x=\"a, handling=strict\"", "handling=lenient; y"],
        // The first one counts.
        &["handling=lenient, handling=strict"],
        &["handling=lenient", "handling=strict"],
        &[",, ,handling=lenient,"],
    ];
    for (number, lines) in lenient.iter().enumerate() {
        let headers: Vec<_> = lines.iter().map(|line| ("prefer", *line)).collect();
        let kept = server.put(&format!("l{number}"), &headers, ODD).await;
        assert_eq!((kept.status, applied(&kept)), (StatusCode::CREATED, Some("handling=lenient")), "{lines:?}");
    }
    // A preference that a server does not know is ignored, and its answer does not name it.
    let ignored: [&[&str]; 9] = [
        &["handling=strict"],
        &["handling=strict, handling=lenient"],
        &["handling=loose"],
        &["handling"],
        &["handling="],
        &["x=\"handling=lenient\""],
        &["x; handling=lenient"],
        &["\"unclosed, handling=lenient"],
        &["handlinglenient", "\u{fc}=handling=lenient"],
    ];
    for lines in ignored {
        let headers: Vec<_> = lines.iter().map(|line| ("prefer", *line)).collect();
        let refused = server.put("strict", &headers, ODD).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{lines:?}: {}", refused.body);
        let kept = server.put("strict", &headers, "{}").await;
        let expected = lines[0].starts_with("handling=strict").then_some("handling=strict");
        assert_eq!((kept.status.is_success(), applied(&kept)), (true, expected), "{lines:?}");
    }
}

#[tokio::test]
async fn the_header_of_warnings_is_ascii_and_bounded() {
    let server = Server::start().await;
    let prefer = [("prefer", "handling=lenient")];
    let kept = server.put("a", &prefer, r#"{"gefühl\"\\\n😀":1}"#).await;
    assert!(kept.header("x-callhistory-warnings").is_ascii());
    assert_eq!(warnings(&kept), ["/gefühl\"\\\n😀 unknown_member"]);
    let members: Vec<_> = (0..90).map(|number| format!("\"{}{number}\":1", "ü".repeat(60))).collect();
    let kept = server.put("b", &prefer, &format!("{{{}}}", members.join(","))).await;
    assert_eq!(kept.status, StatusCode::CREATED);
    let header = kept.header("x-callhistory-warnings");
    assert!((3500..=4096).contains(&header.len()), "{} bytes", header.len());
    assert!((5..90).contains(&warnings(&kept).len()));
    for body in ["{}", r#"{"status":"completed"}"#] {
        assert!(!server.put("c", &prefer, body).await.headers.contains_key("x-callhistory-warnings"));
    }
}

/// What was read can be written back: a strict write takes the members that the stored record has.
#[tokio::test]
async fn unknown_members_survive_a_strict_round_trip() {
    let server = Server::start().await;
    let odd = r#"{"status":"completed","sentiment":{"score":1.50},"x":[1e2],"transcript":[{"role":"user"}]}"#;
    let kept = server.put("c", &[("prefer", "handling=lenient")], odd).await;
    assert_eq!(warnings(&kept), ["/sentiment unknown_member", "/x unknown_member"]);
    let again = server.put("c", &[], &kept.body).await;
    assert_eq!(
        (again.status, again.body.as_str(), again.header("etag")),
        (StatusCode::OK, kept.body.as_str(), kept.header("etag"))
    );
    // Another value of a known one, but no other member.
    let changed = server.put("c", &[], &kept.body.replace("1.50", "2.50")).await;
    assert_eq!((changed.status, changed.body.contains(r#""sentiment":{"score":2.50}"#)), (StatusCode::OK, true));
    let refused = server.put("c", &[], &kept.body.replace("\"x\":", "\"y\":")).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused.json()["errors"][0]["pointer"], "/y");
    assert_eq!(
        server.put("new", &[], &kept.body.replace("\"c\"", "\"new\"")).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    // The SDK keeps them.
    let client = server.client();
    let mut read = client.get_call("c").await.unwrap();
    assert_eq!(read.extra.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["sentiment", "x"]);
    read.summary = Some("s".to_owned());
    let written = client.replace_call("c", &CallInput::from(read.call)).await.unwrap();
    assert_eq!(written.warnings, []);
    let body = server.get("c", &[]).await.body;
    assert!(body.contains(r#""sentiment":{"score":2.50},"x":[1e2],"transcript":"#), "{body}");
    // A patch removes one.
    let patch = CallPatch::default().without("x");
    client.update_call("c", &patch).await.unwrap();
    assert!(!server.get("c", &[]).await.body.contains("\"x\""));
    // Lists, exports and the change feed have them as well.
    for path in
        [CALLS.to_owned(), format!("{CALLS}/export"), format!("{CALLS}/changes"), format!("{CALLS}?fields=sentiment")]
    {
        let body = server.send(Method::GET, &path, &[], "").await.body;
        assert!(path.contains("fields") || body.contains(r#""sentiment":{"score":2.50}"#), "{path}: {body}");
    }
}

#[tokio::test]
async fn the_sdk_prefers_a_handling_and_returns_warnings() {
    let server = Server::start().await;
    let client = server.client();
    let input = CallInput::parse(br#"{"status":"ringing","sentiment":1}"#, Handling::Lenient).unwrap().input;
    assert!(client.replace_call("c", &input).await.unwrap_err().is_invalid_request());
    let lenient = client.with(|options| options.handling(Handling::Lenient));
    let written = lenient.replace_call("c", &input).await.unwrap();
    let found: Vec<_> = written.warnings.iter().map(|w| format!("{} {}", w.pointer, w.code)).collect();
    assert_eq!(found, ["/sentiment unknown_member"]);
    assert_eq!(lenient.create_call(&input).await.unwrap().warnings.len(), 1);
    // The version of a write is the one of the next precondition.
    let ended = CallPatch::from(CallInput { status: Some(CallStatus::Completed), ..CallInput::default() });
    let version = written.version().unwrap();
    let ended = client.if_version(version).update_call("c", &ended).await.unwrap();
    let live = CallPatch::from(CallInput { status: Some(CallStatus::Ringing), ..CallInput::default() });
    let refused = client.update_call("c", &live).await.unwrap_err();
    assert_eq!(refused.problem().unwrap().code.as_str(), "final_status");
    client.if_version(ended.version().unwrap()).update_call("c", &live).await.unwrap();
    assert!(client.update_call("first", &live).await.unwrap_err().is_not_found());
    assert_eq!(client.upsert_call("first", &live).await.unwrap().status, Some(CallStatus::Ringing));
}

#[tokio::test]
async fn json_has_several_media_types_and_may_have_a_bom() {
    let server = Server::start().await;
    let accepted = [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/json;charset=utf8",
        "application/json; charset=\"utf-8\"",
        "application/vnd.example.call+json",
        "application/cloudevents+json; charset=utf-8",
    ];
    for (number, media_type) in accepted.into_iter().enumerate() {
        for (at, body) in ["{\"status\":\"busy\"}", "\u{feff}{\"status\":\"busy\"}"].into_iter().enumerate() {
            let path = format!("{CALLS}/m{number}{at}");
            let kept = server.send(Method::PUT, &path, &[("content-type", media_type)], body).await;
            assert_eq!((kept.status, warnings(&kept)), (StatusCode::CREATED, vec![]), "{media_type}: {}", kept.body);
            let patched = server.send(Method::PATCH, &path, &[("content-type", media_type)], body).await;
            assert_eq!(patched.status, StatusCode::OK, "{media_type}: {}", patched.body);
        }
    }
    for media_type in [
        "text/plain",
        "text/json+x",
        "application/json; charset=utf-16",
        "application/jsonp",
        "text/html+json",
        "+json",
    ] {
        let refused = server.send(Method::PUT, &format!("{CALLS}/x"), &[("content-type", media_type)], "{}").await;
        assert!(
            [StatusCode::UNSUPPORTED_MEDIA_TYPE, StatusCode::BAD_REQUEST].contains(&refused.status),
            "{media_type}"
        );
    }
}
