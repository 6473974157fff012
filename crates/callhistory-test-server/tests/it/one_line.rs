//! The test of a team: its function, and one line that starts a server.

use callhistory_client::{CallInput, CallStatus, Client, Error};
use callhistory_test_server::{Fault, TestServer};

/// The code under test: closes a call, unless somebody else has changed it in the meantime.
async fn close(client: &Client, id: &str) -> Result<&'static str, Error> {
    let call = client.get_call(id).await?;
    let completed = CallInput { status: Some(CallStatus::Completed), ..CallInput::default() };
    match client.if_version(call.version()?).update_call(id, &completed.into()).await {
        Ok(_) => Ok("closed"),
        Err(error) if error.is_precondition_failed() => Ok("changed by somebody else"),
        Err(error) => Err(error),
    }
}

#[tokio::test]
async fn a_call_is_closed_once() {
    let server = TestServer::start().unwrap();
    let client = server.client("workspace").unwrap();
    client.replace_call("a1", &CallInput::default()).await.unwrap();
    server.fault(Fault::precondition_failed().on("update_call")).unwrap();
    assert_eq!(close(&client, "a1").await.unwrap(), "changed by somebody else");
    assert_eq!(close(&client, "a1").await.unwrap(), "closed");
    assert_eq!(client.get_call("a1").await.unwrap().status, Some(CallStatus::Completed));
}
