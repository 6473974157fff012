//! Each fault, as the SDK sees it.

use std::time::Duration;

use callhistory_client::{CallInput, CallStatus, ChangesQuery, Client, Error, ListQuery, ProblemCode, test_util};
use callhistory_test_server::{Fault, TestServer};

/// Longer than any test takes: a response that waits for it does not arrive.
const NEVER: Duration = Duration::from_secs(3600);

fn server() -> TestServer {
    let call = CallInput { status: Some(CallStatus::Ongoing), ..CallInput::default() };
    TestServer::builder().record("one", "a1", call).start().unwrap()
}

/// A client whose retries wait for nothing but the backoff.
fn retrying(server: &TestServer) -> Client {
    server.client("one").unwrap()
}

fn without_retries(server: &TestServer) -> Client {
    server.client_builder("one").max_retries(0).build().unwrap()
}

fn busy() -> CallInput {
    CallInput { status: Some(CallStatus::Busy), ..CallInput::default() }
}

#[tokio::test]
async fn transient_faults_are_retried() {
    let server = server();
    let faults = [
        Fault::rate_limited().retry_after(0),
        Fault::unavailable().retry_after(0),
        Fault::problem(408),
        Fault::cut_body(),
        Fault::drop_request(),
        Fault::drop_response(),
    ];
    for fault in faults {
        let count = server.fault(fault.clone().on("get_call").times(2)).unwrap();
        assert_eq!(retrying(&server).get_call("a1").await.unwrap().id.as_str(), "a1", "{fault}");
        assert_eq!(count.get(), 2, "{fault}");
    }
}

#[tokio::test]
async fn each_problem_is_that_of_the_contract() {
    let server = server();
    let client = without_retries(&server);
    for status in [400, 401, 403, 404, 408, 409, 410, 412, 413, 415, 422, 429, 431, 500, 503, 507] {
        server.fault(Fault::problem(status)).unwrap();
        let error = client.get_call("a1").await.unwrap_err();
        let problem = error.problem().unwrap();
        assert_eq!((error.status(), problem.status), (Some(status), status));
        assert_eq!(problem.kind, format!("urn:callhistory:problem:{}", problem.code));
        assert_eq!(error.request_id(), Some(problem.request_id.as_str()));
    }
    server.fault(Fault::rate_limited().retry_after(7)).unwrap();
    let error = client.get_call("a1").await.unwrap_err();
    assert!(error.is_rate_limited() && error.is_retryable(), "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    assert!(error.problem().unwrap().detail.ends_with("Try again in 7 s."), "{error:?}");
}

/// A problem refuses the request, other faults change its response.
#[tokio::test]
async fn writes_are_processed_or_not() {
    let server = server();
    let client = without_retries(&server);
    for fault in [Fault::unavailable(), Fault::precondition_failed(), Fault::drop_request()] {
        server.fault(fault.clone().on("replace_call")).unwrap();
        let error = client.replace_call("a2", &busy()).await.unwrap_err();
        assert!(!error.was_accepted(), "{fault}: {error}");
        assert!(client.get_call("a2").await.unwrap_err().is_not_found(), "{fault}");
    }
    let damages = [(Fault::drop_response(), false), (Fault::cut_body(), true), (Fault::broken_json(), true)];
    for (fault, was_accepted) in damages {
        server.fault(fault.clone().on("replace_call")).unwrap();
        let error = client.replace_call("a2", &busy()).await.unwrap_err();
        assert_eq!(error.was_accepted(), was_accepted, "{fault}: {error}");
        assert_eq!(client.get_call("a2").await.unwrap().status, Some(CallStatus::Busy), "{fault}");
        client.delete_call("a2").await.unwrap();
    }
}

#[tokio::test]
async fn broken_json_is_not_retried() {
    let server = server();
    let count = server.fault(Fault::broken_json().on("list_calls").times(5)).unwrap();
    let error = retrying(&server).list_calls(&ListQuery::default()).await.unwrap_err();
    assert!(!error.is_retryable() && error.status() == Some(200), "{error}");
    assert!(error.to_string().contains("is not the expected JSON"), "{error}");
    assert_eq!(count.get(), 1);
}

#[tokio::test]
async fn slow_responses_time_out() {
    let server = server();
    let builder = || server.client_builder("one").max_retries(0);
    let short = Duration::from_secs(2);
    let hasty = builder().timeout(short).build().unwrap();
    server.fault(Fault::slow_response(NEVER).on("replace_call")).unwrap();
    let error = hasty.replace_call("a1", &busy()).await.unwrap_err();
    assert!(error.is_timeout() && error.is_retryable(), "{error}");
    // The write is processed, and only its response is late.
    assert_eq!(retrying(&server).get_call("a1").await.unwrap().status, Some(CallStatus::Busy));

    let reader = builder().read_timeout(short).build().unwrap();
    server.fault(Fault::slow_body(NEVER).on("get_call")).unwrap();
    let error = reader.get_call("a1").await.unwrap_err();
    assert!(error.is_timeout() && error.status() == Some(200), "{error}");

    let pause = Duration::from_millis(50);
    for fault in [Fault::slow_response(pause), Fault::slow_body(pause)] {
        let count = server.fault(fault).unwrap();
        assert_eq!(without_retries(&server).get_call("a1").await.unwrap().id.as_str(), "a1");
        assert_eq!(count.get(), 1);
    }
}

#[tokio::test]
async fn a_cursor_expires() {
    let server = server();
    let client = retrying(&server);
    server.fault(Fault::cursor_expired().on("list_call_changes")).unwrap();
    assert!(client.list_call_changes(&ChangesQuery::default()).await.unwrap_err().is_cursor_expired());
    assert!(!client.list_call_changes(&ChangesQuery::default()).await.unwrap().changes.is_empty());
}

#[tokio::test]
async fn faults_choose_their_requests() {
    let server = TestServer::builder().record("one", "a1", busy()).record("one", "a2", busy()).start().unwrap();
    let client = without_retries(&server);
    let statuses = async |id: &str, count: usize| {
        let mut statuses = Vec::new();
        for _ in 0..count {
            statuses.push(client.get_call(id).await.err().and_then(|error| error.status()));
        }
        statuses
    };
    let later = server.fault(Fault::problem(500).on("get_call").after(2).every(3)).unwrap();
    assert_eq!(statuses("a1", 9).await.iter().filter(|status| status.is_some()).count(), 2);
    assert_eq!(later.get(), 2);
    server.clear_faults();

    // One after the other, and each with the requests that the earlier ones leave.
    server.fault(Fault::unavailable().on("/v2/api/call-history/a1").times(2)).unwrap();
    server.fault(Fault::problem(500).on("get_call").after(1)).unwrap();
    assert_eq!(statuses("a2", 1).await, [None]);
    assert_eq!(statuses("a1", 4).await, [Some(503), Some(503), Some(500), None]);

    server.fault(Fault::problem(500).every(1)).unwrap();
    assert_eq!(statuses("a1", 3).await, [Some(500); 3]);
    server.clear_faults();
    assert_eq!(statuses("a1", 1).await, [None]);
}

#[test]
fn a_fault_that_is_wrong_names_its_part() {
    let server = TestServer::start().unwrap();
    let refused = |fault: Fault| server.fault(fault).unwrap_err().to_string();
    assert!(
        refused(Fault::unavailable().on("list_cals"))
            .starts_with("\"list_cals\" is not an operation; did you mean \"list_calls\"?")
    );
    assert!(refused(Fault::problem(418)).starts_with("418 is not a status of a problem; the faults are 400, 401, "));
    assert_eq!(refused(Fault::cut_body().retry_after(1)), "retry-after belongs to a status");
    let cases = [
        ("503*two", "the count after *: \"two\" is not a whole number"),
        ("slow_bdy,delay=1s", "\"slow_bdy\" is not a fault; did you mean \"slow_body\"?"),
        ("slow_body", "slow_body needs a delay, such as delay=2s"),
        ("slow_body,delay=soon", "delay: \"soon\" is not a time such as 500ms or 2s"),
        ("503,delay=1s", "delay belongs to slow_response and slow_body"),
        ("503,after", "\"after\" has no value"),
        ("503,evry=2", "\"evry\" is not an option; did you mean \"every\"?"),
        ("503,every=0", "every=0: "),
        ("", "\"\" is not a fault; the faults are 400, "),
    ];
    for (text, expected) in cases {
        let error = text.parse::<Fault>().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn the_text_of_a_fault_is_read_back() {
    let texts = [
        "429",
        "list_calls:429*2,retry-after=1",
        "/v2/api/call-history/a:1,b:slow_body,delay=1m500ms,after=3",
        "drop_response*4,after=1,every=2",
    ];
    for text in texts {
        assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
    }
}

/// What a program asks of an error.
fn questions(error: &Error) -> String {
    let answers = [
        ("not found", error.is_not_found()),
        ("invalid", error.is_invalid_request()),
        ("unauthorized", error.is_unauthorized()),
        ("forbidden", error.is_forbidden()),
        ("conflict", error.is_conflict()),
        ("precondition failed", error.is_precondition_failed()),
        ("cursor expired", error.is_cursor_expired()),
        ("rate limited", error.is_rate_limited()),
        ("timeout", error.is_timeout()),
        ("connect", error.is_connect()),
        ("retryable", error.is_retryable()),
        ("accepted", error.was_accepted()),
    ];
    let yes: Vec<_> = answers.iter().filter(|(_, is_so)| *is_so).map(|(name, _)| *name).collect();
    let (code, attempts) = (error.code().cloned(), error.attempts());
    let has_id = error.request_id().is_some();
    format!("{yes:?} {:?} {code:?} {:?} {has_id} {attempts}", error.status(), error.retry_after())
}

#[tokio::test]
async fn errors_that_are_made_answer_as_those_of_a_server() {
    let server = server();
    let client = server.client_builder("one").max_retries(0).timeout(Duration::from_secs(3)).build().unwrap();
    let reads = [
        (Fault::precondition_failed(), test_util::problem_error(412, ProblemCode::PreconditionFailed)),
        (Fault::cursor_expired(), test_util::problem_error(410, ProblemCode::CursorExpired)),
        (Fault::rate_limited().retry_after(7), test_util::rate_limit_error(Duration::from_secs(7))),
        (Fault::slow_response(NEVER), test_util::timeout_error()),
        (Fault::drop_request(), test_util::lost_connection_error()),
        (Fault::cut_body(), test_util::broken_body_error()),
        (Fault::broken_json(), test_util::malformed_body_error()),
    ];
    for (fault, made) in reads {
        server.fault(fault.clone()).unwrap();
        let met = client.get_call("a1").await.unwrap_err();
        assert_eq!(questions(&made), questions(&met), "{fault}: {made}; {met}");
    }
    server.fault(Fault::cut_body()).unwrap();
    let met = client.replace_call("a1", &busy()).await.unwrap_err();
    assert_eq!(questions(&test_util::accepted_write_error()), questions(&met));
    drop(server);
    let met = client.get_call("a1").await.unwrap_err();
    assert_eq!(questions(&test_util::connect_error()), questions(&met));
}

/// A record that is made is the one that the service would return, but for its times.
#[tokio::test]
async fn records_that_are_made_are_those_of_a_server() {
    let input = CallInput { agent_id: Some("agent-7".to_owned()), ..busy() };
    let server = TestServer::builder().record(test_util::WORKSPACE, "a1", input.clone()).start().unwrap();
    let mut stored = server.client(test_util::WORKSPACE).unwrap().get_call("a1").await.unwrap();
    let made = test_util::record("a1", input);
    (stored.created_at, stored.updated_at) = (made.created_at.clone(), made.updated_at.clone());
    assert_eq!(made, stored.call);
}
