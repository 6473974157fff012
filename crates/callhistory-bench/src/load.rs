//! Servers in processes of their own, and a closed loop of requests against them.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher as _},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use procfs::process::{ClearRefs, Process};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::error::BoxError;

/// How long a server may take until it listens: longer than a migration of a large database.
const START_TIMEOUT: Duration = Duration::from_secs(600);

/// A server in a process of its own, which ends with this value.
pub(crate) struct ServerProcess {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl ServerProcess {
    pub(crate) async fn start(command: &mut Command) -> Result<Self, BoxError> {
        let address = free_address()?;
        let command = command.args(["--listen", &address.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        let mut process = Self { child: command.spawn()?, address };
        while started.elapsed() < START_TIMEOUT {
            if TcpStream::connect(address).await.is_ok() {
                return Ok(process);
            }
            if let Some(status) = process.child.try_wait()? {
                return Err(format!("{command:?} ended: {status}").into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Err(format!("{command:?} does not listen").into())
    }

    /// User and system time so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64, BoxError> {
        cpu_seconds(self.child.id())
    }

    /// Resident memory now, and its peak since the last [`reset_peak`](Self::reset_peak), in MiB.
    pub(crate) fn memory_mib(&self) -> Result<(f64, f64), BoxError> {
        memory_mib(self.child.id())
    }

    /// Starts measuring the peak of memory again.
    pub(crate) fn reset_peak(&self) {
        // Where the system does not allow it, the peak is that of the whole run: higher, and never too low.
        drop(process(self.child.id()).map(|process| process.clear_refs(ClearRefs::PeakRSS)));
    }
}

fn process(id: u32) -> Result<Process, BoxError> {
    Ok(Process::new(i32::try_from(id)?)?)
}

/// Resident memory of a process, and its peak, in MiB.
pub(crate) fn memory_mib(id: u32) -> Result<(f64, f64), BoxError> {
    let status = process(id)?.status()?;
    let mib = |kib: Option<u64>| kib.map(|kib| kib as f64 / 1024.0).ok_or("the system does not report memory");
    Ok((mib(status.vmrss)?, mib(status.vmhwm)?))
}

/// User and system time of a process.
pub(crate) fn cpu_seconds(id: u32) -> Result<f64, BoxError> {
    let stat = process(id)?.stat()?;
    Ok((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

pub(crate) fn free_address() -> Result<SocketAddr, BoxError> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Requests to send repeatedly. Each connection starts at another one of them.
#[derive(Clone)]
pub(crate) struct Requests {
    pub(crate) all: Arc<Vec<Vec<u8>>>,
    /// The status of every response: another one ends the measurement.
    pub(crate) status: &'static str,
    pub(crate) connections: usize,
}

impl Requests {
    pub(crate) fn new(all: Vec<Vec<u8>>, status: &'static str) -> Self {
        Self { all: Arc::new(all), status, connections: 64 }
    }

    pub(crate) fn over(self, connections: usize) -> Self {
        Self { connections, ..self }
    }
}

/// What a server did in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) per_second: f64,
    pub(crate) p50_millis: f64,
    pub(crate) p99_millis: f64,
    pub(crate) cpu_micros: f64,
}

impl Round {
    /// Of each figure the median.
    pub(crate) fn median(rounds: &[Self]) -> Self {
        let middle = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure).collect());
        Self {
            per_second: middle(|round| round.per_second),
            p50_millis: middle(|round| round.p50_millis),
            p99_millis: middle(|round| round.p99_millis),
            cpu_micros: middle(|round| round.cpu_micros),
        }
    }
}

pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = (to_f64(sorted.len()) * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

pub(crate) fn to_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// Sends requests over all connections, again and again, until the time is up.
pub(crate) async fn measure(process: &ServerProcess, requests: &Requests, time: Duration) -> Result<Round, BoxError> {
    run(process, requests, Some(Instant::now() + time)).await
}

/// Sends each request once.
pub(crate) async fn send_all(process: &ServerProcess, requests: &Requests) -> Result<Round, BoxError> {
    run(process, requests, None).await
}

async fn run(process: &ServerProcess, requests: &Requests, end: Option<Instant>) -> Result<Round, BoxError> {
    let (cpu, started, address) = (process.cpu_seconds()?, Instant::now(), process.address);
    let workers: Vec<_> = (0..requests.connections)
        .map(|worker| tokio::spawn(exchange_all(address, requests.clone(), worker, end)))
        .collect();
    let mut millis: Vec<f64> = Vec::new();
    for worker in workers {
        millis.extend(worker.await??);
    }
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), process.cpu_seconds()? - cpu);
    millis.sort_unstable_by(f64::total_cmp);
    let count = to_f64(millis.len());
    Ok(Round {
        per_second: count / seconds,
        p50_millis: percentile(&millis, 0.5),
        p99_millis: percentile(&millis, 0.99),
        cpu_micros: cpu * 1e6 / count,
    })
}

/// The requests of one connection: its share once, or until the end all of them, starting at its own offset.
async fn exchange_all(
    address: SocketAddr,
    requests: Requests,
    worker: usize,
    end: Option<Instant>,
) -> Result<Vec<f64>, BoxError> {
    let mut connection = Connection::open(address).await?;
    let all = requests.all.iter();
    let own: Box<dyn Iterator<Item = &Vec<u8>> + Send> = match end {
        Some(_) => Box::new(all.cycle().skip(worker * requests.all.len() / requests.connections)),
        None => Box::new(all.skip(worker).step_by(requests.connections)),
    };
    let mut millis = Vec::with_capacity(1 << 16);
    for request in own {
        let sent = Instant::now();
        connection.exchange(request, requests.status).await?;
        let now = Instant::now();
        millis.push((now - sent).as_secs_f64() * 1e3);
        if end.is_some_and(|end| now >= end) {
            break;
        }
    }
    Ok(millis)
}

/// How long each of several requests takes, one after the other, in milliseconds.
pub(crate) async fn latencies(
    process: &ServerProcess,
    requests: &[Vec<u8>],
    rounds: usize,
) -> Result<Vec<f64>, BoxError> {
    let mut connection = Connection::open(process.address).await?;
    let mut millis = Vec::new();
    for _ in 0..rounds {
        for request in requests {
            let sent = Instant::now();
            connection.exchange(request, "200").await?;
            millis.push(sent.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(millis)
}

/// A connection that is kept open.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    body: usize,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, BoxError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 * 1024), body: 0 })
    }

    /// Sends a request and reads its response, which must have this status.
    pub(crate) async fn exchange(&mut self, request: &[u8], status: &str) -> Result<(), BoxError> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let mut whole = None;
        while whole.is_none_or(|whole| self.buffer.len() < whole) {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("a server closed the connection".into());
            }
            if whole.is_none()
                && let Some(head) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n")
            {
                self.body = head + 4;
                whole = Some(self.body + content_length(&self.buffer[..head])?);
            }
        }
        if self.buffer.get(9..12) == Some(status.as_bytes()) {
            return Ok(());
        }
        Err(format!("not {status}: {}", String::from_utf8_lossy(&self.buffer)).into())
    }

    /// The head of the last response.
    pub(crate) fn head(&self) -> &str {
        std::str::from_utf8(&self.buffer[..self.body]).unwrap_or_default()
    }

    /// The body of the last response.
    pub(crate) fn body(&self) -> &[u8] {
        &self.buffer[self.body..]
    }
}

fn content_length(head: &[u8]) -> Result<usize, BoxError> {
    let text = std::str::from_utf8(head)?;
    if text.get(9..12) == Some("304") {
        return Ok(0);
    }
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    Ok(length.ok_or("a response without a length")?.parse()?)
}

/// How many values there are, and the sum of their hashes: equal for the same values in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) count: usize,
    sum: u64,
}

impl Digest {
    pub(crate) fn add(&mut self, value: impl Hash) {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        self.count += 1;
        self.sum = self.sum.wrapping_add(hasher.finish());
    }
}

/// The size of a file in MiB.
pub(crate) fn file_mib(path: &Path) -> Result<f64, BoxError> {
    Ok(fs::metadata(path)?.len() as f64 / 1_048_576.0)
}
