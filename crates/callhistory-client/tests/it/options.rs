//! Options of single calls and of the builder: headers, timeouts, keys, workspaces, versions.

use std::time::Duration;

use callhistory_client::{ClientBuilder, Error, Version, model::examples, reqwest};

use crate::{
    ID, WORKSPACE, builder, client, input, record,
    stub::{Reply, Stub},
};

fn good() -> Reply {
    Reply::new(200, &["content-type: application/json", "etag: \"7-aa\""], examples::SOURCE_EXAMPLE)
}

#[tokio::test]
async fn headers_and_keys_apply_to_one_call() {
    let stub = Stub::start([good(), good(), good()]).await;
    let client = builder(&stub.url).header("x-team", "billing").user_agent_suffix("billing/1.2").build().unwrap();
    let job =
        client.with(|options| options.header("traceparent", "00-1").header("x-team", "a").idempotency_key("job-7"));
    job.create_call(&input()).await.unwrap();
    job.create_call(&input()).await.unwrap();
    client.create_call(&input()).await.unwrap();
    let seen = stub.seen();
    for request in &seen[..2] {
        assert_eq!(request.header("traceparent"), Some("00-1"));
        assert_eq!((request.header("x-team"), request.header("idempotency-key")), (Some("a"), Some("job-7")));
    }
    assert_eq!((seen[2].header("traceparent"), seen[2].header("x-team")), (None, Some("billing")));
    assert_ne!(seen[2].header("idempotency-key"), Some("job-7"));
    let agent = concat!("callhistory-client/", env!("CARGO_PKG_VERSION"), " billing/1.2");
    assert_eq!(seen[2].header("user-agent"), Some(agent));
}

#[tokio::test]
async fn invalid_options_are_errors_without_a_request() {
    let stub = Stub::start([]).await;
    let client = client(&stub.url);
    let calls = [
        client.with(|options| options.header("a b", "c")),
        client.with(|options| options.header("x-team", "hidden\n")),
        client.with(|options| options.idempotency_key("")),
        client.with(|options| options.max_retries(11)),
        client.with(|options| options.header("X-Workspace-ID", "hidden")),
        client.with(|options| options.header("prefer", "hidden")),
        client.with(|options| options.header("if-match", "hidden")),
    ];
    for call in calls {
        let error = call.get_call(ID).await.unwrap_err();
        assert!(error.is_invalid_request() && !format!("{error:?}").contains("hidden"), "{error:?}");
    }
    for builder in [builder(&stub.url).header("", "x"), builder(&stub.url).user_agent_suffix("a\nb")] {
        assert!(builder.build().unwrap_err().is_invalid_request());
    }
    let own = builder(&stub.url).header("x-api-key", "hidden").build().unwrap_err().to_string();
    assert!(own.contains("x-api-key") && own.contains("`api_key`") && !own.contains("hidden"), "{own}");
    let secret = builder(&stub.url).header("x-secret", "hidden").proxy("http://user:hidden@proxy");
    let client = secret.clone().build().unwrap().with(|options| options.header("x-other", "hidden"));
    assert!(!format!("{secret:?} {client:?}").contains("hidden"));
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn a_call_has_its_own_timeout_and_retries() {
    let slow = || good().delayed(Duration::from_secs(1));
    let stub = Stub::start([slow(), slow(), slow(), Reply::new(503, &[], "")]).await;
    let short = Duration::from_millis(100);
    let client = builder(&stub.url).timeout(short).read_timeout(short).max_retries(1).build().unwrap();
    let error = client.get_call(ID).await.unwrap_err();
    assert!(error.is_timeout() && error.attempts() == 2, "{error:?}");
    let patient = client.with(|options| options.timeout(Duration::from_secs(60)));
    assert_eq!(patient.get_call(ID).await.unwrap().call, record());
    let once = patient.with(|options| options.max_retries(0));
    assert_eq!(once.get_call(ID).await.unwrap_err().attempts(), 1);
}

#[tokio::test]
async fn workspaces_and_keys_share_a_pool() {
    let stub = Stub::start([good(), good(), good(), good()]).await;
    // The client of reqwest needs a provider of the process.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().user_agent("own").build().unwrap();
    let client = builder(&stub.url).api_key("first").http_client(http).build().unwrap();
    let other = client.for_workspace("w2").unwrap();
    assert!(client.for_workspace("a b").unwrap_err().is_invalid_request());
    client.get_call(ID).await.unwrap();
    other.get_call(ID).await.unwrap();
    client.set_api_key("second").unwrap();
    assert!(client.set_api_key("").unwrap_err().is_invalid_request());
    other.get_call(ID).await.unwrap();
    client.get_call(ID).await.unwrap();
    let seen = stub.seen();
    let pairs =
        seen.iter().map(|request| (request.header("x-workspace-id").unwrap(), request.header("x-api-key").unwrap()));
    let expected = [(WORKSPACE, "first"), ("w2", "first"), ("w2", "second"), (WORKSPACE, "second")];
    assert_eq!(pairs.collect::<Vec<_>>(), expected);
    assert!(seen[0].header("user-agent").unwrap().starts_with("callhistory-client/"));
}

#[tokio::test]
async fn versions_chain_and_a_record_is_read_only_if_it_has_changed() {
    let stub = Stub::start([good(), good(), good(), Reply::new(304, &["etag: \"7-aa\""], ""), good()]).await;
    let client = client(&stub.url);
    let read = client.get_call(ID).await.unwrap();
    let written = client.if_version(read.version().unwrap()).replace_call(ID, &input()).await.unwrap();
    let stored: Version = written.version().unwrap().to_string().parse().unwrap();
    assert_eq!(&stored, read.version().unwrap());
    let json = serde_json::to_string(&stored).unwrap();
    assert_eq!((json.as_str(), serde_json::from_str::<Version>(&json).unwrap()), (r#""\"7-aa\"""#, stored.clone()));
    for invalid in ["", "7", "\"", "\"a\"b\"", "W/7", "\"é\n\""] {
        assert!(invalid.parse::<Version>().is_err(), "{invalid}");
    }
    client.if_version(&stored).delete_call(ID).await.unwrap();
    assert_eq!(client.get_call_if_changed(ID, &stored).await.unwrap(), None);
    assert_eq!(client.get_call_if_changed(ID, &stored).await.unwrap().unwrap().call, record());
    let seen = stub.seen();
    assert_eq!([1, 2].map(|at: usize| seen[at].header("if-match")), [Some("\"7-aa\""); 2]);
    assert_eq!([3, 4].map(|at: usize| seen[at].header("if-none-match")), [Some("\"7-aa\""); 2]);
}

#[tokio::test]
async fn a_record_is_read_into_another_type() {
    #[derive(serde::Deserialize)]
    struct Id {
        #[serde(rename = "_id")]
        id: String,
    }
    let stub = Stub::start([good()]).await;
    let call = client(&stub.url).get_call_as::<Id>(ID).await.unwrap();
    assert_eq!((call.id.as_str(), call.version().unwrap().as_str()), (ID, "\"7-aa\""));
}

/// The test starts itself with other variables.
#[test]
#[cfg(unix)]
#[expect(clippy::disallowed_methods, reason = "the test says by a variable which of its two processes this is")]
fn the_environment_describes_a_client() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

    const NAME: &str = "options::the_environment_describes_a_client";
    if std::env::var("CALLHISTORY_TEST_CHILD").is_ok() {
        return tokio::runtime::Runtime::new().unwrap().block_on(async {
            match ClientBuilder::from_env().build() {
                Ok(client) => println!("{client:?} {:?}", client.get_call(ID).await.map(|call| call.call.id)),
                Err(error) => println!("{error}"),
            }
        });
    }
    let run = |url: &[u8], workspace: &[u8], key: &[u8]| {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", NAME, "--nocapture"]).env("CALLHISTORY_TEST_CHILD", "1");
        for (name, value) in [("URL", url), ("WORKSPACE", workspace), ("API_KEY", key)] {
            command.env(format!("CALLHISTORY_{name}"), OsStr::from_bytes(value));
        }
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stub = runtime.block_on(Stub::start([good(), good()]));
    let (url, bad) = (stub.url.as_bytes(), b"hidden\xff".as_slice());
    for key in ["key", ""] {
        let complete = run(url, b"w", key.as_bytes());
        assert!(complete.contains(&format!("{}/v2", stub.url)) && complete.contains(ID), "{complete}");
    }
    let keys: Vec<_> = stub.seen().iter().map(|seen| seen.header("x-api-key").map(str::to_owned)).collect();
    assert_eq!(keys, [Some("key".to_owned()), None]);
    for (url, workspace, key, fault) in [
        (b"".as_slice(), b"w".as_slice(), b"".as_slice(), "CALLHISTORY_URL"),
        (bad, b"w", b"", "CALLHISTORY_URL is not UTF-8"),
        (url, b"", b"", "the workspace is missing"),
        (url, bad, b"", "CALLHISTORY_WORKSPACE is not UTF-8"),
        (url, b"w", bad, "CALLHISTORY_API_KEY is not UTF-8"),
        (url, b"w", b"hidden key", "CALLHISTORY_API_KEY has characters"),
    ] {
        let output = run(url, workspace, key);
        assert!(output.contains(fault) && !output.contains("hidden"), "{fault}: {output}");
    }
}

#[tokio::test]
async fn conflicts_and_preconditions_are_different() {
    let reply = |status: u16, code: &str| {
        let body = format!(
            r#"{{"type":"t","title":"t","status":{status},"code":"{code}","detail":"d","requestId":"r","errors":[]}}"#
        );
        Reply::problem(status, &body)
    };
    let stub = Stub::start([reply(409, "final_status"), reply(412, "precondition_failed"), reply(403, "later")]).await;
    let client = client(&stub.url);
    let mut errors: Vec<Error> = Vec::new();
    for _ in 0..3 {
        errors.push(client.replace_call(ID, &input()).await.unwrap_err());
    }
    let codes: Vec<_> = errors.iter().map(|error| error.code().unwrap().as_str()).collect();
    assert_eq!(codes, ["final_status", "precondition_failed", "later"]);
    assert!(errors[0].is_conflict() && !errors[0].is_precondition_failed());
    assert!(!errors[1].is_conflict() && errors[1].is_precondition_failed());
    assert!(errors[2].is_forbidden() && !errors[2].is_unauthorized());
}
