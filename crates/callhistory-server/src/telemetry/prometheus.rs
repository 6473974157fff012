//! Metrics of the process for Prometheus: labelled by route, never by path, without data of callers.

use std::{
    fmt::Write as _,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use callhistory_store::CallStore;
use metrics::{describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

/// How long requests and commits take, in seconds.
const SECONDS: [f64; 15] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// How many writes share a commit.
const WRITES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 2048.0];
/// How often metrics that nobody scrapes are aggregated, so that they do not pile up.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The registry of this process.
#[derive(Clone)]
pub struct Meters {
    registry: PrometheusHandle,
    process: Collector,
    requests: Arc<Requests>,
}

/// Metrics of all requests. They are counted here and not by the registry, which keeps each time that is recorded until
/// it is fetched.
#[derive(Default)]
struct Requests {
    answers: RwLock<Vec<Arc<Answers>>>,
    in_flight: AtomicI64,
}

/// The responses of one route to one method with one status.
struct Answers {
    route: String,
    method: &'static str,
    status: u16,
    /// For each bound of seconds those that took longer than the one before and not longer than it; the last, all others.
    within: [AtomicU64; SECONDS.len() + 1],
    nanos: AtomicU64,
}

/// A request in flight.
pub(crate) struct InFlightGuard(Arc<Requests>);

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Answers {
    fn of(&self, route: &str, method: &str, status: u16) -> bool {
        self.status == status && self.method == method && self.route == route
    }

    fn add(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.within[SECONDS.partition_point(|bound| *bound < seconds)].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn within(&self) -> impl Iterator<Item = u64> {
        self.within.iter().map(|count| count.load(Ordering::Relaxed))
    }
}

impl Requests {
    fn known(&self) -> RwLockReadGuard<'_, Vec<Arc<Answers>>> {
        self.answers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, route: &str, method: &'static str, status: u16, took: Duration) {
        let is_it = |answers: &&Arc<Answers>| answers.of(route, method, status);
        if let Some(answers) = self.known().iter().find(is_it) {
            return answers.add(took);
        }
        let mut all = self.answers.write().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter().find(is_it).cloned();
        let answers = known.unwrap_or_else(|| {
            let (within, nanos) = (std::array::from_fn(|_| AtomicU64::new(0)), AtomicU64::new(0));
            let answers = Arc::new(Answers { route: route.to_owned(), method, status, within, nanos });
            all.push(Arc::clone(&answers));
            answers
        });
        answers.add(took);
    }

    /// In the text form of Prometheus.
    fn render(&self, text: &mut String) {
        let mut answers: Vec<_> = self.known().clone();
        answers.sort_by(|one, other| {
            let key = |answers: &Arc<Answers>| (answers.route.clone(), answers.method, answers.status);
            key(one).cmp(&key(other))
        });
        let head = |text: &mut String, name: &str, kind: &str, help: &str| {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        };
        let name = "callhistory_http_requests_total";
        head(text, name, "counter", "Requests by their response status.");
        for Answers { route, method, status, within, .. } in answers.iter().map(Arc::as_ref) {
            let count: u64 = within.iter().map(|count| count.load(Ordering::Relaxed)).sum();
            let _ = writeln!(text, "{name}{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}} {count}");
        }
        let name = "callhistory_http_request_duration_seconds";
        head(text, name, "histogram", "From the head of a request to the head of its response.");
        for same in answers.chunk_by(|one, other| one.route == other.route && one.method == other.method) {
            let labels = format!("route=\"{}\",method=\"{}\"", same[0].route, same[0].method);
            let (mut count, mut nanos) = (0, 0);
            let mut within = [0; SECONDS.len() + 1];
            for answers in same {
                within.iter_mut().zip(answers.within()).for_each(|(sum, count)| *sum += count);
                nanos += answers.nanos.load(Ordering::Relaxed);
            }
            let bounds = SECONDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
            for (bound, within) in bounds.zip(within) {
                count += within;
                let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
            }
            let sum = Duration::from_nanos(nanos).as_secs_f64();
            let _ = writeln!(text, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}");
        }
    }
}

impl Meters {
    /// Begins to count; once in a process, inside a runtime.
    ///
    /// # Errors
    ///
    /// Fails where this process counts already.
    pub fn start() -> Result<Self, String> {
        let error = |error: metrics_exporter_prometheus::BuildError| error.to_string();
        let registry = PrometheusBuilder::new()
            .set_buckets(&SECONDS)
            .and_then(|builder| {
                let writes = metrics_exporter_prometheus::Matcher::Full("callhistory_commit_writes".to_owned());
                builder.set_buckets_for_metric(writes, WRITES)
            })
            .map_err(error)?
            .install_recorder()
            .map_err(error)?;
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
        Ok(Self { registry, process, requests: Arc::default() })
    }

    pub(crate) fn begin(&self) -> InFlightGuard {
        self.requests.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlightGuard(Arc::clone(&self.requests))
    }

    /// Counts one response. The route is its template, and an unknown method is "other".
    pub(crate) fn answered(&self, route: &str, method: &'static str, status: u16, took: Duration) {
        self.requests.add(route, method, status, took);
    }

    /// Everything that is counted, in the text form of Prometheus.
    pub(crate) fn render(&self, store: &dyn CallStore) -> String {
        self.process.collect();
        let condition = store.health();
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
        #[expect(clippy::cast_precision_loss, reason = "the number of requests in flight is small")]
        gauge!("callhistory_http_requests_in_flight").set(self.requests.in_flight.load(Ordering::Relaxed) as f64);
        let mut text = self.registry.render();
        self.requests.render(&mut text);
        text
    }
}

fn describe() {
    describe_gauge!("callhistory_http_requests_in_flight", "Requests in flight.");
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
