//! Metrics of the process for Prometheus: labelled by route, never by path, without data of callers.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use callhistory_store::CallStore;
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

/// The bounds of the histograms of requests and commits, in seconds.
const SECONDS: [f64; 15] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// The bounds of the histogram of writes that share a commit.
const WRITES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 2048.0];
/// How often recorded times are added to the histograms; until then, each takes 8 bytes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The metrics of this process.
#[derive(Clone)]
pub struct PrometheusRegistry {
    handle: PrometheusHandle,
    process: Collector,
    in_flight: Gauge,
    /// Looking a metric up by its labels would cost each request another 0.3 µs.
    routes: Arc<RwLock<Vec<RouteMetrics>>>,
}

/// The metrics of one route, method and status.
struct RouteMetrics {
    route: String,
    method: &'static str,
    status: u16,
    requests: Counter,
    duration: Histogram,
}

impl RouteMetrics {
    fn new(route: &str, method: &'static str, status: u16) -> Self {
        let route = route.to_owned();
        let requests = counter!(
            "callhistory_http_requests_total",
            "route" => route.clone(), "method" => method, "status" => status.to_string(),
        );
        let duration = histogram!(
            "callhistory_http_request_duration_seconds",
            "route" => route.clone(), "method" => method,
        );
        Self { route, method, status, requests, duration }
    }

    fn record(&self, duration: Duration) {
        self.requests.increment(1);
        self.duration.record(duration);
    }
}

/// A request in flight.
pub(crate) struct InFlightGuard(Gauge);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl PrometheusRegistry {
    /// Installs the registry; once in a process, inside a runtime.
    ///
    /// # Errors
    ///
    /// Fails where this process has a registry already.
    pub fn install() -> Result<Self, String> {
        let error = |error: BuildError| error.to_string();
        let commit_writes = Matcher::Full("callhistory_commit_writes".to_owned());
        let handle = PrometheusBuilder::new()
            .set_buckets(&SECONDS)
            .and_then(|builder| builder.set_buckets_for_metric(commit_writes, WRITES))
            .and_then(PrometheusBuilder::install_recorder)
            .map_err(error)?;
        let process = Collector::default();
        process.describe();
        describe();
        gauge!("callhistory_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        // An alert needs the series before the first damage.
        for place in ["page", "record", "response"] {
            counter!("callhistory_damage_total", "where" => place).increment(0);
        }
        let upkeep = handle.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP_INTERVAL).await;
                upkeep.run_upkeep();
            }
        });
        let in_flight = gauge!("callhistory_http_requests_in_flight");
        Ok(Self { handle, process, in_flight, routes: Arc::default() })
    }

    /// Counts a request as in flight until the guard is dropped.
    pub(crate) fn begin_request(&self) -> InFlightGuard {
        self.in_flight.increment(1.0);
        InFlightGuard(self.in_flight.clone())
    }

    /// Records one response. The route is its template, and an unknown method is "other".
    pub(crate) fn record_response(&self, route: &str, method: &'static str, status: u16, duration: Duration) {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let is_it = |known: &&RouteMetrics| known.status == status && known.method == method && known.route == route;
        if let Some(known) = routes.iter().find(is_it) {
            return known.record(duration);
        }
        drop(routes);
        let new = RouteMetrics::new(route, method, status);
        new.record(duration);
        // Where two requests get here at once, both entries are the same metrics.
        self.routes.write().unwrap_or_else(PoisonError::into_inner).push(new);
    }

    /// All metrics in the text format of Prometheus.
    pub(crate) fn render(&self, store: &dyn CallStore) -> String {
        self.process.collect();
        let health = store.health();
        gauge!("callhistory_disk_full").set(f64::from(health.is_full));
        gauge!("callhistory_read_only").set(f64::from(health.is_read_only));
        gauge!("callhistory_writes_stopped").set(f64::from(health.has_stopped));
        let sizes = [
            ("callhistory_database_bytes", health.database_bytes),
            ("callhistory_wal_bytes", health.wal_bytes),
            ("callhistory_disk_free_bytes", health.disk_free_bytes),
            ("callhistory_damaged_pages", health.damaged_pages),
        ];
        for (name, size) in sizes {
            if let Some(size) = size {
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and exact up to 8 PiB")]
                gauge!(name).set(size as f64);
            }
        }
        self.handle.render()
    }
}

fn describe() {
    describe_counter!("callhistory_http_requests_total", "Requests by the status of their response.");
    describe_histogram!(
        "callhistory_http_request_duration_seconds",
        "Time from the head of a request to the head of its response."
    );
    describe_gauge!("callhistory_http_requests_in_flight", "Requests in flight.");
    describe_gauge!("callhistory_connections", "Open connections.");
    describe_gauge!("callhistory_connections_limit", "Maximum of open connections.");
    describe_counter!(
        "callhistory_connections_cut_total",
        "Connections that were ended for what they sent or did not read."
    );
    describe_counter!("callhistory_refused_total", "Requests that were refused because of a share or a budget.");
    describe_gauge!("callhistory_followers", "Event streams and requests that wait for changes.");
    describe_counter!(
        "callhistory_follower_reads_total",
        "Reads of changes for them; those at one position share one."
    );
    describe_histogram!("callhistory_commit_seconds", "Time of a commit, with its sync.");
    describe_histogram!("callhistory_commit_writes", "Writes that shared a commit.");
    describe_gauge!("callhistory_database_bytes", "Size of the embedded database.");
    describe_gauge!("callhistory_wal_bytes", "Size of its write-ahead log.");
    describe_gauge!("callhistory_disk_free_bytes", "Free space on its disk.");
    describe_gauge!("callhistory_damaged_pages", "Damaged pages of the embedded database that the last scrub found.");
    describe_counter!("callhistory_damage_total", "Reads of damaged data, by where the damage was found.");
    describe_gauge!("callhistory_disk_full", "1 while writes are refused because the disk is full.");
    describe_gauge!("callhistory_read_only", "1 while the disk does not accept writes.");
    describe_gauge!("callhistory_writes_stopped", "1 after an I/O error, until a restart.");
    describe_gauge!("callhistory_build_info", "1, with the version.");
}
