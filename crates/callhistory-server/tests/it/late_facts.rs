//! Late facts never undo final ones, in every way of writing one record.

use reqwest::{Method, StatusCode};

use crate::harness::{CALLS, Server};

/// Final statuses of several vendors, and the live ones that arrive late.
const FINAL: [&str; 11] = [
    "completed",
    "failed",
    "no-answer",
    "busy",
    "canceled",
    "COMPLETED",
    "No_Answer",
    "ended",
    "ANSWERED",
    "cancelled",
    "NO ANSWER",
];

#[tokio::test]
async fn a_late_status_does_not_undo_a_final_one() {
    let server = Server::start().await;
    for (number, status) in FINAL.into_iter().enumerate() {
        let id = format!("f{number}");
        let ended = server.put(&id, &[], &format!(r#"{{"status":"{status}","endTime":1680000060}}"#)).await;
        let etag = ended.header("etag").to_owned();
        let path = format!("{CALLS}/{id}");
        for body in [r#"{"status":"ringing"}"#, r#"{"status":"IN_PROGRESS"}"#, r#"{"status":"in progress"}"#] {
            for (method, handling) in [
                (Method::PUT, "strict"),
                (Method::PATCH, "strict"),
                (Method::PUT, "lenient"),
                (Method::PATCH, "lenient"),
            ] {
                let prefer = format!("handling={handling}");
                let headers = [("content-type", "application/json"), ("prefer", prefer.as_str())];
                let refused = server.send(method.clone(), &path, &headers, body).await;
                assert_eq!(
                    (refused.status, refused.code().as_str()),
                    (StatusCode::CONFLICT, "final_status"),
                    "{method} {status}"
                );
            }
        }
        // A PUT without a status would remove the final one.
        assert_eq!(server.put(&id, &[], r#"{"summary":"late"}"#).await.code(), "final_status");
        let star = server.put(&id, &[("if-match", "*")], r#"{"status":"ringing"}"#).await;
        assert_eq!(star.code(), "final_status", "a caller who names no version has seen none");
        assert_eq!(server.get(&id, &[]).await.body, ended.body);
        // Other members can be patched, and another final status can be written.
        let late =
            server.send(Method::PATCH, &path, &[("content-type", "application/json")], r#"{"summary":"s"}"#).await;
        assert_eq!((late.status, &late.json()["status"]), (StatusCode::OK, &status.into()));
        let other = server.put(&id, &[], r#"{"status":"failed"}"#).await;
        assert_eq!(other.status, StatusCode::OK);
        assert_eq!(
            server.put(&id, &[("if-match", &etag)], r#"{"status":"ringing"}"#).await.code(),
            "precondition_failed"
        );
        let etag = other.header("etag").to_owned();
        let reopened = server.put(&id, &[("if-match", &etag)], r#"{"status":"ringing"}"#).await;
        assert_eq!((reopened.status, &reopened.json()["status"]), (StatusCode::OK, &"ringing".into()));
    }
}

#[tokio::test]
async fn a_patch_reopens_a_call_whose_version_it_names() {
    let server = Server::start().await;
    let ended = server.put("p", &[], r#"{"status":"completed"}"#).await;
    let headers = [("content-type", "application/merge-patch+json"), ("if-match", ended.header("etag"))];
    let reopened = server.send(Method::PATCH, &format!("{CALLS}/p"), &headers, r#"{"status":"ongoing"}"#).await;
    assert_eq!((reopened.status, &reopened.json()["status"]), (StatusCode::OK, &"ongoing".into()));
}

/// The end and a late event at the same time: whichever comes first, the call has ended.
#[tokio::test]
async fn a_late_status_that_arrives_with_the_final_one_is_not_the_last() {
    let server = Server::start().await;
    for number in 0..30 {
        let id = format!("r{number}");
        let (end, late) = tokio::join!(
            server.put(&id, &[], r#"{"status":"completed","summary":"s"}"#),
            server.put(&id, &[], r#"{"status":"ringing"}"#)
        );
        assert!(end.status.is_success());
        assert!(late.status.is_success() || late.code() == "final_status", "{}", late.body);
        assert_eq!(server.get(&id, &[]).await.json()["status"], "completed");
    }
}

#[tokio::test]
async fn a_patch_can_be_the_first_event_of_a_call() {
    let server = Server::start().await;
    let json = [("content-type", "application/merge-patch+json")];
    let upsert = format!("{CALLS}/u?upsert=true");
    let absent = server.send(Method::PATCH, &format!("{CALLS}/u"), &json, r#"{"status":"ringing"}"#).await;
    assert_eq!((absent.status, absent.code().as_str()), (StatusCode::NOT_FOUND, "call_not_found"));
    let absent = server.send(Method::PATCH, &format!("{CALLS}/u?upsert=false"), &json, "{}").await;
    let blank = server.send(Method::PATCH, &format!("{CALLS}/u?upsert="), &json, "{}").await;
    assert_eq!(blank.status, StatusCode::NOT_FOUND, "a blank parameter is not given: {}", blank.body);
    assert_eq!(absent.status, StatusCode::NOT_FOUND);
    let first = server.send(Method::PATCH, &upsert, &json, r#"{"status":"ringing","summary":null}"#).await;
    assert_eq!((first.status, &first.json()["status"]), (StatusCode::CREATED, &"ringing".into()), "{}", first.body);
    let end = server.send(Method::PATCH, &upsert, &json, r#"{"status":"completed","endTime":1680000060}"#).await;
    assert_eq!(end.status, StatusCode::OK);
    let late = server.send(Method::PATCH, &upsert, &json, r#"{"status":"ringing"}"#).await;
    assert_eq!(late.code(), "final_status");
    assert_eq!(server.get("u", &[]).await.body, end.body);
    let guarded = [json[0], ("if-match", "*")];
    let refused = server.send(Method::PATCH, &format!("{CALLS}/none?upsert=true"), &guarded, "{}").await;
    assert_eq!(refused.code(), "precondition_failed");
    for query in ["upsert=yes", "upsert=true&upsert=true", "upser=true"] {
        let refused = server.send(Method::PATCH, &format!("{CALLS}/u?{query}"), &json, "{}").await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (StatusCode::BAD_REQUEST, "invalid_parameter"),
            "{query}"
        );
    }
    let refused = server.send(Method::PUT, &upsert, &[("content-type", "application/json")], "{}").await;
    assert_eq!(refused.code(), "invalid_parameter");
}
