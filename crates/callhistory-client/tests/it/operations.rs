//! The requests of operations on single records, and their decoded responses.

use callhistory_client::{CallStatus, Client, Error, model::examples};

use crate::{
    ID, WORKSPACE, builder, client, input, record,
    stub::{Reply, Stub},
};

#[tokio::test]
async fn get_sends_the_documented_request() {
    let stub = Stub::start([Reply::json(200, examples::SOURCE_EXAMPLE)]).await;
    let call = builder(&stub.url).api_key("secret-key").build().unwrap().get_call(ID).await.unwrap();
    assert_eq!(call.call, record());
    let seen = &stub.seen()[0];
    assert_eq!(seen.line, format!("GET /v2/api/call-history/{ID}"));
    assert_eq!(seen.header("x-workspace-id"), Some(WORKSPACE));
    assert_eq!(seen.header("x-api-key"), Some("secret-key"));
    assert_eq!(seen.header("user-agent"), Some(concat!("callhistory-client/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(seen.header("accept"), Some("application/json, application/problem+json"));
    assert_eq!((seen.header("content-type"), seen.body.as_str()), (None, ""));
}

#[tokio::test]
async fn put_sends_the_record_with_its_digits() {
    for status in [200, 201] {
        let stub = Stub::start([Reply::json(status, examples::SOURCE_EXAMPLE)]).await;
        assert_eq!(client(&stub.url).replace_call(ID, &input()).await.unwrap().call, record());
        let seen = &stub.seen()[0];
        assert_eq!(seen.line, format!("PUT /v2/api/call-history/{ID}"));
        assert_eq!(seen.header("content-type"), Some("application/json"));
        assert_eq!(seen.header("x-api-key"), None);
        assert_eq!(seen.header("idempotency-key"), None);
        assert!(seen.body.contains(r#""cost":{"customer_charge":0.10}"#), "{}", seen.body);
        assert!(seen.body.contains(r#""startTime":1680000000,"#), "{}", seen.body);
    }
}

#[tokio::test]
async fn create_sends_a_new_idempotency_key() {
    let created = || Reply::json(201, examples::SOURCE_EXAMPLE);
    let stub = Stub::start([created(), created()]).await;
    let client = client(&stub.url);
    client.create_call(&input()).await.unwrap();
    client.create_call(&input()).await.unwrap();
    let seen = stub.seen();
    assert_eq!(seen[0].line, "POST /v2/api/call-history");
    let [first, second] = [0, 1].map(|at: usize| seen[at].header("idempotency-key").unwrap());
    assert!(first.len() == 32 && first.bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_path_in_the_base_url_is_kept() {
    for end in ["", "/"] {
        let stub = Stub::start([Reply::json(200, examples::SOURCE_EXAMPLE)]).await;
        client(&format!("{}/calls%20of/us{end}", stub.url)).get_call(ID).await.unwrap();
        assert_eq!(stub.seen()[0].line, format!("GET /calls%20of/us/v2/api/call-history/{ID}"));
    }
}

#[tokio::test]
async fn digits_and_unknown_members_and_values_are_kept() {
    let newer = examples::COMPLETE_EXAMPLE
        .replace(r#""status": "completed""#, r#""status": "parked", "sentiment": {"score": 1.50}"#);
    let stub = Stub::start([Reply::json(200, &newer)]).await;
    let call = client(&stub.url).get_call(ID).await.unwrap();
    assert_eq!(call.status, Some(CallStatus::Other("parked".to_owned())));
    assert_eq!(call.extra[0].0, "sentiment");
    assert_eq!(call.start_time.as_ref().unwrap().as_str(), "1737062894.9754236");
    let json = String::from_utf8(call.to_json()).unwrap();
    for text in ["0.10", "0.0300", "12345678901234567890123", "4.50", "59.90", "1.50"] {
        assert!(json.contains(text), "{text} in {json}");
    }
}

#[test]
fn futures_and_errors_are_send() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    fn is_shared<T: Send + Sync + 'static>() {}
    is_shared::<Client>();
    is_shared::<Error>();
    let client = client("http://127.0.0.1:1");
    drop(is_send(client.get_call(ID)));
    drop(is_send(client.replace_call(ID, &input())));
    drop(is_send(client.create_call(&input())));
}
