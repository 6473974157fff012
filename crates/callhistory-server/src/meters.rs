//! The numbers of a running service, for Prometheus: of routes and never of paths, and nothing of any caller.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use callhistory_store::CallStore;
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

/// How long requests and commits take, in seconds.
const SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// How many writes share a commit.
const WRITES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 2048.0];
/// How often the numbers that nobody has fetched are put together, so that they do not pile up.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Where the numbers of this process are kept.
#[derive(Clone)]
pub struct Meters {
    registry: PrometheusHandle,
    process: Collector,
    requests: Arc<RwLock<HashMap<String, Methods>>>,
    under_way: Gauge,
}

/// The numbers of one route, by method and status.
type Methods = HashMap<(&'static str, u16), (Counter, Histogram)>;

/// A request that is under way.
pub(crate) struct UnderWay(Gauge);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl Meters {
    /// Begins to count; once in a process, inside a runtime.
    ///
    /// # Errors
    ///
    /// Fails where this process counts already.
    pub fn start() -> Result<Self, String> {
        let fault = |error: metrics_exporter_prometheus::BuildError| error.to_string();
        let registry = PrometheusBuilder::new()
            .set_buckets(SECONDS)
            .and_then(|builder| {
                let writes = metrics_exporter_prometheus::Matcher::Full("callhistory_commit_writes".to_owned());
                builder.set_buckets_for_metric(writes, WRITES)
            })
            .map_err(fault)?
            .install_recorder()
            .map_err(fault)?;
        let process = Collector::default();
        process.describe();
        describe();
        gauge!("callhistory_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        let upkeep = registry.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP_INTERVAL).await;
                upkeep.run_upkeep();
            }
        });
        Ok(Self {
            registry,
            process,
            requests: Arc::default(),
            under_way: gauge!("callhistory_http_requests_under_way"),
        })
    }

    pub(crate) fn begin(&self) -> UnderWay {
        self.under_way.increment(1.0);
        UnderWay(self.under_way.clone())
    }

    /// Counts one answer. The route is its template, and an unknown method is "other".
    pub(crate) fn answered(&self, route: &str, method: &'static str, status: u16, took: Duration) {
        let key = (method, status);
        let known = self.requests.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(route).and_then(|methods| methods.get(&key)).cloned();
        drop(known);
        let (count, seconds) = found.unwrap_or_else(|| {
            let labels = [("route", route.to_owned()), ("method", method.to_owned()), ("status", status.to_string())];
            let numbers = (
                counter!("callhistory_http_requests_total", &labels),
                histogram!("callhistory_http_request_seconds", &labels[..2]),
            );
            let mut known = self.requests.write().unwrap_or_else(PoisonError::into_inner);
            known.entry(route.to_owned()).or_default().entry(key).or_insert(numbers).clone()
        });
        count.increment(1);
        seconds.record(took);
    }

    /// Everything that is counted, in the text form of Prometheus.
    pub(crate) fn render(&self, store: &dyn CallStore) -> String {
        self.process.collect();
        let condition = store.condition();
        gauge!("callhistory_disk_full").set(if condition.is_full { 1.0 } else { 0.0 });
        gauge!("callhistory_writes_stopped").set(if condition.has_stopped { 1.0 } else { 0.0 });
        let sizes = [
            ("callhistory_database_bytes", condition.database_bytes),
            ("callhistory_wal_bytes", condition.wal_bytes),
            ("callhistory_disk_free_bytes", condition.disk_free_bytes),
        ];
        for (name, size) in sizes {
            if let Some(size) = size {
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and exact up to 8 PiB")]
                gauge!(name).set(size as f64);
            }
        }
        self.registry.render()
    }
}

fn describe() {
    describe_counter!("callhistory_http_requests_total", "Requests that were answered.");
    describe_histogram!("callhistory_http_request_seconds", "From the head of a request to that of its answer.");
    describe_gauge!("callhistory_http_requests_under_way", "Requests that are not answered yet.");
    describe_gauge!("callhistory_connections", "Open connections.");
    describe_histogram!("callhistory_commit_seconds", "How long a commit took, with its sync.");
    describe_histogram!("callhistory_commit_writes", "Writes that shared a commit.");
    describe_gauge!("callhistory_database_bytes", "The size of the embedded database.");
    describe_gauge!("callhistory_wal_bytes", "The size of its write-ahead log.");
    describe_gauge!("callhistory_disk_free_bytes", "What is left on its disk.");
    describe_gauge!("callhistory_disk_full", "1 while writes are refused because the disk is full.");
    describe_gauge!("callhistory_writes_stopped", "1 after an I/O error, until a restart.");
    describe_gauge!("callhistory_build_info", "1, with the version.");
}
