//! The requests of operations on many records, and the resumption of their streams.

use std::sync::{Arc, Mutex};

use callhistory_client::{
    CallFilter, CallInput, CallRecord, Error, ExportFormat, ExportQuery, ImportMode, ImportQuery, ItemStream,
    ListQuery, OneOf, SearchQuery, SearchSort, model::examples,
};
use futures_util::{TryStreamExt as _, stream};

use crate::{
    ID, builder, client,
    stub::{Reply, Stub},
};

fn page(header: &str) -> Reply {
    Reply::new(200, &["content-type: application/json", header], &format!("[{}]", examples::SOURCE_EXAMPLE))
}

fn line(id: &str, start: u32) -> String {
    let example = examples::SOURCE_EXAMPLE
        .replace(ID, id)
        .replace("1680000000", &start.to_string())
        .replace("1680000300", "2000000000");
    example.replace('\n', "") + "\n"
}

fn export(status: u16, body: &str) -> Reply {
    Reply::raw(status, &["content-type: application/x-ndjson", "transfer-encoding: chunked"], body)
}

/// A chunk of a body; the last one ends it.
fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

#[tokio::test]
async fn pages_follow_the_cursor() {
    let stub = Stub::start(["x-next-cursor: one-1", "X-Next-Cursor: two", "x-none: 1"].map(page)).await;
    let filter = CallFilter::new().status(OneOf::any(["a", "b"]));
    let query = ListQuery::new().filter(filter).limit(5).page(1);
    let calls: Vec<_> = client(&stub.url).stream_calls(query).try_collect().await.unwrap();
    assert_eq!(calls.len(), 3);
    let lines: Vec<_> = stub.seen().iter().map(|seen| seen.line.clone()).collect();
    let base = "GET /v2/api/call-history?status=a%2Cb&limit=5";
    assert_eq!(lines, [format!("{base}&page=1"), format!("{base}&cursor=one-1"), format!("{base}&cursor=two")]);
}

#[tokio::test]
async fn a_repeated_cursor_is_an_error() {
    let stub = Stub::start(["x-next-cursor: same"; 3].map(page)).await;
    let result: Result<Vec<_>, _> = client(&stub.url).stream_calls(ListQuery::default()).try_collect().await;
    assert!(result.unwrap_err().to_string().contains("same cursor"));
    assert_eq!(stub.seen().len(), 2);
}

#[tokio::test]
async fn an_interrupted_export_resumes_after_its_last_record() {
    let whole = |lines: &[String]| lines.iter().map(|line| chunk(line)).collect::<String>() + "0\r\n\r\n";
    // The first response is aborted in the middle of a line, the second one ends there.
    let broken = chunk(&line("c", 30)) + &chunk(&line("b", 20)) + &chunk(&line("a", 10)[..40]);
    let cut_off = chunk(&line("b", 20)) + &chunk(&line("ab", 10)[..40]) + "0\r\n\r\n";
    let rest = whole(&[line("b", 20), line("ab", 20), line("a", 10)]);
    let stub = Stub::start([export(200, &broken), export(200, &cut_off), export(200, &rest)]).await;
    let calls = client(&stub.url).export_calls(CallFilter::default()).await.unwrap();
    let calls: Vec<_> = calls.map_ok(|call| call.id.to_string()).try_collect().await.unwrap();
    assert_eq!(calls, ["c", "b", "ab", "a"]);
    let second = &stub.seen()[1].line;
    assert!(second.contains("/export?startedBefore=1970-01-01T00:00:20.000000001Z"), "{second}");
    let stub = Stub::start([export(200, &broken), export(200, &cut_off)]).await;
    let calls = builder(&stub.url).max_retries(0).build().unwrap().export_calls(CallFilter::default()).await.unwrap();
    let result: Result<Vec<_>, _> = calls.try_collect().await;
    assert!(result.unwrap_err().is_retryable());
}

#[tokio::test]
async fn an_import_is_sent_in_parts_and_its_reports_are_summed() {
    let report = |line: u64| {
        let error = format!(r#"{{"line":{line},"pointer":"/status","code":"too_short","detail":"is empty"}}"#);
        let warning = error.replace("too_short", "unknown_member");
        Reply::json(
            if line == 3 { 422 } else { 200 },
            &format!(
                r#"{{"created":1,"replaced":2,"merged":3,"unchanged":4,"stale":5,"deleted":6,"repeated":7,"skipped":8,
                "rejected":9,"warned":10,"aborted":false,"errors":[{error}],"warnings":[{warning}]}}"#
            ),
        )
    };
    let stub = Stub::start([report(7), Reply::nothing(), report(3)]).await;
    let calls =
        (0..700).map(|number| CallInput { id: Some(format!("c{number}").parse().unwrap()), ..CallInput::default() });
    let sum = client(&stub.url).import_calls(calls).await.unwrap();
    assert_eq!((sum.created, sum.replaced, sum.merged, sum.unchanged, sum.stale), (2, 4, 6, 8, 10));
    assert_eq!((sum.deleted, sum.repeated, sum.skipped, sum.rejected, sum.warned), (12, 14, 16, 18, 20));
    let lines: Vec<_> = sum.errors.iter().map(|error| error.line).collect();
    let warned: Vec<_> = sum.warnings.iter().map(|warning| warning.line).collect();
    assert_eq!((lines, warned), (vec![7, 503], vec![7, 503]));
    let seen = stub.seen();
    assert_eq!(seen[0].header("content-type"), Some("application/x-ndjson"));
    let counts: Vec<_> = seen.iter().map(|seen| seen.body.lines().count()).collect();
    assert_eq!(counts, [500, 200, 200], "the part that failed is sent again");
}

#[tokio::test]
async fn an_atomic_import_is_one_request() {
    let report = r#"{"created":0,"replaced":0,"merged":0,"unchanged":0,"stale":0,"deleted":0,"repeated":0,"skipped":0,
        "rejected":1,"warned":0,"aborted":true,"errors":[],"warnings":[]}"#;
    let stub = Stub::start([Reply::json(422, report)]).await;
    let call = |number| CallInput { id: Some(format!("c{number}").parse().unwrap()), ..CallInput::default() };
    let query = ImportQuery::new().mode(ImportMode::Merge).atomic(true).restore_deleted(true);
    let client = client(&stub.url);
    assert!(client.import(query.clone()).calls((0..1200).map(call)).await.unwrap().aborted);
    let seen = &stub.seen()[0];
    assert_eq!(seen.line, "POST /v2/api/call-history/batch?mode=merge&atomic=true&restoreDeleted=true");
    assert_eq!(seen.body.lines().count(), 1200);
    let large = client.import(query).calls((0..10_001).map(call)).await.unwrap_err();
    assert!(large.is_invalid_request() && large.attempts() == 0, "{large:?}");
    assert_eq!(stub.seen().len(), 1);
}

#[tokio::test]
async fn a_retried_deletion_that_finds_no_record_succeeds() {
    let gone = || {
        Reply::problem(
            404,
            r#"{"type":"t","title":"t","status":404,"code":"call_not_found","detail":"d","requestId":"r"}"#,
        )
    };
    let stub = Stub::start([Reply::nothing(), gone()]).await;
    client(&stub.url).delete_call(ID).await.unwrap();
    for earlier in [Vec::new(), vec![Reply::new(429, &[], "")], vec![Reply::new(503, &[], "")]] {
        let stub = Stub::start(earlier.into_iter().chain([gone()])).await;
        assert!(client(&stub.url).delete_call(ID).await.unwrap_err().is_not_found(), "nobody has deleted it");
    }
    let stub = Stub::start([Reply::new(204, &[], "")]).await;
    client(&stub.url).delete_call(ID).await.unwrap();
    assert_eq!(stub.seen()[0].line, format!("DELETE /v2/api/call-history/{ID}"));
}

/// A follower with an expired cursor gets an error that says so, without a retry.
#[tokio::test]
async fn an_expired_cursor_is_an_error_of_the_follower() {
    let body = r#"{"type": "urn:callhistory:problem:cursor_expired", "title": "The cursor has expired", "status": 410,
        "code": "cursor_expired", "detail": "Start again without the cursor.", "requestId": "req-410"}"#;
    let stub = Stub::start([Reply::problem(410, body), Reply::new(410, &["content-type: text/html"], "gone")]).await;
    let mut pages = client(&stub.url).follow_changes(Some("old".to_owned()));
    let expired = pages.try_next().await.unwrap_err();
    assert!(expired.is_cursor_expired() && !expired.is_retryable() && !expired.is_invalid_request(), "{expired:?}");
    assert_eq!(stub.seen().len(), 1);
    let other = client(&stub.url).get_call(ID).await.unwrap_err();
    assert!(!other.is_cursor_expired(), "a proxy said that the page is gone: {other:?}");
}

fn report(written: u64) -> Reply {
    let body = format!(
        r#"{{"created":{written},"replaced":0,"merged":0,"unchanged":0,"stale":0,"deleted":0,"repeated":0,"skipped":0,
        "rejected":0,"warned":0,"aborted":false,"errors":[],"warnings":[]}}"#
    );
    Reply::json(200, &body)
}

fn calls(count: usize) -> impl Iterator<Item = CallInput> {
    (0..count).map(|number| CallInput { id: Some(format!("c{number}").parse().unwrap()), ..CallInput::default() })
}

#[tokio::test]
async fn an_import_reports_what_was_written_before_it_failed() {
    let stub = Stub::start([report(500), report(499), Reply::new(413, &[], "")]).await;
    let progress = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&progress);
    let import = client(&stub.url).import(ImportQuery::default());
    let import = import.on_progress(move |report| seen.lock().unwrap().push(report.created));
    let error = import.calls(calls(1200)).await.unwrap_err();
    assert_eq!((error.status(), error.import_report().unwrap().created), (Some(413), 999));
    assert_eq!(*progress.lock().unwrap(), [500, 999]);
}

#[tokio::test]
async fn an_import_from_a_stream_ends_with_the_error_of_its_source() {
    let stub = Stub::start([report(500), report(7), report(507)]).await;
    let client = client(&stub.url);
    let rows = |end: Option<&'static str>| stream::iter(calls(507).map(Ok).chain(end.map(Err)));
    let error = client.import(ImportQuery::default()).stream(rows(Some("the database is gone"))).await.unwrap_err();
    assert!(error.to_string().contains("the database is gone"), "{error}");
    assert_eq!(error.import_report().unwrap().created, 507);
    let counts: Vec<_> = stub.seen().iter().map(|seen| seen.body.lines().count()).collect();
    assert_eq!(counts, [500, 7], "what came before the error is written");
    let refused = Stub::start([report(500), Reply::new(413, &[], "")]).await;
    let both =
        crate::client(&refused.url).import(ImportQuery::default()).stream(rows(Some("the cause"))).await.unwrap_err();
    assert!(both.to_string().contains("the cause") && both.to_string().contains("413"), "{both}");
    assert_eq!(both.import_report().unwrap().created, 500);
    // An atomic import writes all or none.
    let atomic = ImportQuery::new().atomic(true);
    assert!(client.import(atomic.clone()).stream(rows(Some("gone"))).await.is_err());
    assert_eq!(stub.seen().len(), 2);
    assert_eq!(client.import(atomic).stream(rows(None)).await.unwrap().created, 507);
}

#[tokio::test]
async fn streams_have_names_and_a_next_of_their_own() {
    struct Reader {
        calls: ItemStream<CallRecord>,
    }
    let stub = Stub::start([page("x-none: 1"), page("x-none: 1")]).await;
    let client = client(&stub.url);
    let mut reader = Reader { calls: client.stream_calls(ListQuery::default()) };
    assert_eq!(reader.calls.next().await.unwrap().unwrap().id.as_str(), ID);
    assert!(reader.calls.try_next().await.unwrap().is_none() && reader.calls.next().await.is_none());
    let partial = ListQuery::new().fields(["_id"]);
    let ids: Vec<serde_json::Value> = client.stream_calls_as(partial.clone()).collect().await.unwrap();
    assert_eq!(ids[0]["_id"], ID);
    assert!(client.stream_pages(partial).try_next().await.unwrap_err().is_invalid_request());
}

#[tokio::test]
async fn an_export_is_written_as_it_is() {
    let whole = chunk("_id,status\n") + &chunk("a,busy\n") + "0\r\n\r\n";
    let reply = || Reply::raw(200, &["content-type: text/csv", "transfer-encoding: chunked"], &whole);
    let stub = Stub::start([reply(), export(200, &chunk("_id"))]).await;
    let client = client(&stub.url);
    let query = ExportQuery::new().format(ExportFormat::Csv);
    let mut file = Vec::new();
    assert_eq!(client.export_file(&query).await.unwrap().write_to(&mut file).await.unwrap(), 18);
    assert_eq!(file, b"_id,status\na,busy\n");
    assert_eq!(stub.seen()[0].line, "GET /v2/api/call-history/export?format=csv");
    let broken = client.export_file(&query).await.unwrap().write_to(&mut file).await.unwrap_err();
    assert!(broken.get_ref().unwrap().downcast_ref::<Error>().unwrap().is_retryable());
}

#[tokio::test]
async fn hits_are_streamed_over_pages() {
    let page = |next: &str| {
        let hit = format!(r#"{{"call":{},"evidence":[]}}"#, examples::SOURCE_EXAMPLE);
        Reply::json(200, &format!(r#"{{"hits":[{hit}]{next}}}"#))
    };
    let stub = Stub::start([page(r#","next":"two""#), page("")]).await;
    let filter = CallFilter::new().search("a");
    let query = SearchQuery::new().filter(filter).sort(SearchSort::NewestFirst);
    assert_eq!(client(&stub.url).stream_search_hits(query).collect().await.unwrap().len(), 2);
    assert!(stub.seen()[1].line.contains("cursor=two"));
}
