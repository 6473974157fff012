//! Spans and events of the feature `tracing`.

use std::{
    io,
    sync::{Arc, Mutex},
};

use callhistory_client::model::examples;
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

#[tokio::test]
async fn each_operation_has_a_span_and_each_retry_an_event() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_span_events(FmtSpan::CLOSE);
    let subscriber = subscriber.with_max_level(tracing::Level::DEBUG).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
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
