//! The client that blocks the thread.

use callhistory_client::{ListQuery, model::examples};

use crate::{
    ID, builder, input, record,
    stub::{Reply, Stub},
};

#[test]
fn a_program_without_a_runtime_calls_the_service() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let list = format!("[{}]", examples::SOURCE_EXAMPLE);
    let page = |next: &str| Reply::new(200, &["content-type: application/json", next], &list);
    let good = || Reply::new(200, &["content-type: application/json", "etag: \"7-aa\""], examples::SOURCE_EXAMPLE);
    let script = [good(), good(), page("x-next-cursor: two"), page("x-none: 1")];
    let stub = runtime.block_on(Stub::start(script));
    let client = builder(&stub.url).build_blocking().unwrap();
    let read = client.get_call(ID).unwrap();
    assert_eq!(read.call, record());
    client
        .if_version(read.version().unwrap())
        .with(|options| options.header("x-a", "b"))
        .replace_call(ID, &input())
        .unwrap();
    let calls: Vec<_> = client.stream_calls(ListQuery::default()).map(|call| call.unwrap()).collect();
    assert_eq!(calls, [record(), record()]);
    assert_eq!((stub.seen()[1].header("if-match"), stub.seen()[1].header("x-a")), (Some("\"7-aa\""), Some("b")));
}

#[tokio::test]
async fn inside_a_runtime_it_is_an_error() {
    assert!(builder("not a URL").build_blocking().unwrap_err().is_invalid_request());
    let client = builder("http://127.0.0.1:1").build_blocking().unwrap();
    assert!(client.get_call(ID).unwrap_err().is_invalid_request());
    let mut calls = client.stream_calls(ListQuery::default());
    assert!(calls.next().unwrap().unwrap_err().is_invalid_request());
    assert!(calls.next().is_none());
    drop(client);
}
