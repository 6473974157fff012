//! Spans and events of the feature `tracing`.

use std::{
    io,
    sync::{Arc, Mutex},
};

use callhistory_client::model::examples;
use tracing::Instrument as _;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::{
    ID, builder, input,
    stub::{Reply, Stub},
};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Collects the log of this thread, down to a level.
fn collect(level: tracing::Level) -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_span_events(FmtSpan::CLOSE);
    let subscriber = subscriber.with_max_level(level).with_writer(move || writer.clone()).finish();
    (log, tracing::subscriber::set_default(subscriber))
}

#[tokio::test]
async fn each_operation_has_a_span_and_each_retry_an_event() {
    let (log, _guard) = collect(tracing::Level::DEBUG);
    let stub = Stub::start([Reply::new(503, &[], ""), Reply::json(200, examples::SOURCE_EXAMPLE)]).await;
    let client = builder(&stub.url).api_key("hidden-key").build().unwrap();
    client.with(|options| options.header("x-other", "hidden-header")).replace_call(ID, &input()).await.unwrap();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let ours = || log.lines().filter(|line| line.contains("callhistory{"));
    assert!(ours().any(|line| line.contains("WARN") && line.contains("attempt=1") && line.contains("503")), "{log}");
    let close = ours().find(|line| line.contains("close")).unwrap();
    for field in ["operation=\"replace_call\"", "attempt=2", "status=200", "request_id=\"req-200\""] {
        assert!(close.contains(field), "{field}: {log}");
    }
    for secret in ["hidden", ID, "customer_charge"] {
        assert!(!ours().any(|line| line.contains(secret)), "{secret}: {log}");
    }
}

#[tokio::test]
async fn an_attempt_without_a_response_has_no_status() {
    let (log, _guard) = collect(tracing::Level::DEBUG);
    let stub = Stub::start([Reply::new(503, &[], ""), Reply::nothing()]).await;
    assert!(builder(&stub.url).max_retries(1).build().unwrap().get_call(ID).await.is_err());
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let close = log.lines().find(|line| line.contains("callhistory{") && line.contains("close")).unwrap();
    assert!(close.contains("attempt=2") && !close.contains("status=") && !close.contains("request_id="), "{log}");
}

/// A program that shows only warnings, with a span whose fields have the same names.
#[tokio::test]
async fn the_span_of_the_caller_is_left_alone() {
    let (log, _guard) = collect(tracing::Level::WARN);
    let stub = Stub::start([Reply::new(503, &[], ""), Reply::json(200, examples::SOURCE_EXAMPLE)]).await;
    let client = builder(&stub.url).build().unwrap();
    let empty = tracing::field::Empty;
    let span = tracing::error_span!("caller", attempt = empty, status = empty, request_id = empty);
    client.get_call(ID).instrument(span).await.unwrap();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("retrying: ") && log.contains("caller"), "{log}");
    assert!(!log.contains("caller{"), "{log}");
}
