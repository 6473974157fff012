//! How fast the service is, as a ratio to a static handler that answers the same bytes: in one run, in turns, behind the
//! same accept loop, in a process of its own like the service.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use axum::{Router, http::header, routing::get};
use callhistory_model::sample;
use callhistory_server::{Limits, serve};
use clap::Args;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 5;
const RECORDS: usize = 10_000;
const WORKSPACE: &str = "bench";

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How to measure.
#[derive(Debug, Clone, Copy, Args)]
pub struct Options {
    /// One second a round instead of four
    #[arg(long)]
    quick: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// A server in a process of its own, which ends with this value.
pub(crate) struct Peer {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Peer {
    pub(crate) async fn start(command: &mut Command) -> Result<Self, Failure> {
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let command = command.args(["--listen", &address.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let peer = Self { child: command.spawn()?, address };
        for _ in 0..200 {
            if TcpStream::connect(address).await.is_ok() {
                return Ok(peer);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        Err(format!("{command:?} does not listen").into())
    }

    /// User and system time so far, in clock ticks; `None` where the system does not tell.
    fn cpu_ticks(&self) -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
    }
}

/// What one side did in one round.
#[derive(Clone, Copy)]
struct Round {
    per_second: f64,
    p50_micros: f64,
    p99_micros: f64,
    cpu_micros: f64,
}

/// Serves one static answer on the service's own accept loop until the process is ended: the other side of the ratio.
///
/// # Errors
///
/// Fails when the address cannot be listened on.
#[tokio::main]
pub async fn serve_static(address: SocketAddr) -> std::io::Result<()> {
    let body: &'static str = Box::leak(record(&id(0)).into_boxed_str());
    let answer = move || async move { ([(header::CONTENT_TYPE, "application/json"), (header::ETAG, "\"1\"")], body) };
    let router = Router::new().route("/v2/api/call-history/{callHistoryId}", get(answer));
    serve(
        TcpListener::bind(address).await?,
        router,
        Limits::default(),
        None,
        tokio_util::sync::CancellationToken::new(),
    )
    .await;
    Ok(())
}

/// The record of every measurement under an id, as it is answered.
fn record(id: &str) -> String {
    let mut record = sample::source_example();
    if let (Ok(id), Ok(workspace)) = (id.parse(), WORKSPACE.parse()) {
        (record.id, record.workspace_id) = (id, workspace);
    }
    String::from_utf8_lossy(&record.to_json()).into_owned()
}

fn id(number: usize) -> String {
    format!("{number:016x}")
}

/// Measures `get_call` against the static handler and prints the ratios.
///
/// # Errors
///
/// Fails when a side cannot be built or started, or answers anything but 200: a broken run gives no figures.
#[tokio::main]
pub async fn run(root: &Path, options: Options) -> Result<(), Failure> {
    let binaries = release_binaries(root)?;
    let directory = tempfile::tempdir()?;
    let mut command = Command::new(binaries.join("callhistory-server"));
    let service = Peer::start(command.arg("--data-dir").arg(directory.path())).await?;
    let fixed = Peer::start(Command::new(binaries.join("xtask")).arg("bench-static")).await?;
    fill(service.address).await?;
    let time = if options.quick { Duration::from_secs(1) } else { Duration::from_secs(4) };
    let load = Path::new("/proc/loadavg");
    let load_before = fs::read_to_string(load).unwrap_or_default();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(measure(&fixed, time).await?);
        ours.push(measure(&service, time).await?);
    }
    report(&ours, &theirs, options, load_before.split(' ').next().unwrap_or("?"));
    Ok(())
}

/// Builds what is measured, and says where it is.
pub(crate) fn release_binaries(root: &Path) -> Result<PathBuf, Failure> {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let build = ["build", "--release", "--package", "callhistory-server", "--package", "xtask"];
    if !Command::new(cargo).args(build).current_dir(root).status()?.success() {
        return Err("the release build failed".into());
    }
    // Beside this program's own profile, wherever the target directory is.
    let program = std::env::current_exe()?;
    Ok(program.ancestors().nth(2).ok_or("this program lies in no target directory")?.join("release"))
}

async fn fill(address: SocketAddr) -> Result<(), Failure> {
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|worker| {
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await?;
                let mut buffer = Vec::new();
                for number in (worker..RECORDS).step_by(CONNECTIONS) {
                    let body = record(&id(number));
                    let head = format!(
                        "PUT /v2/api/call-history/{} HTTP/1.1\r\nhost: bench\r\nx-workspace-id: {WORKSPACE}\r\n\
                         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                        id(number),
                        body.len()
                    );
                    stream.write_all(head.as_bytes()).await?;
                    read_answer(&mut stream, &mut buffer, b"HTTP/1.1 201").await?;
                }
                Ok::<_, Failure>(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// Reads one answer and refuses any other than the expected one.
pub(crate) async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>, expected: &[u8]) -> Result<(), Failure> {
    buffer.clear();
    let mut length = None;
    while length.is_none_or(|length| buffer.len() < length) {
        if stream.read_buf(buffer).await? == 0 {
            return Err("a server closed the connection".into());
        }
        if length.is_none()
            && let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n")
        {
            let text = std::str::from_utf8(&buffer[..head])?;
            let body = text.lines().find_map(|line| line.strip_prefix("content-length: ")).ok_or("no length")?;
            length = Some(head + 4 + body.parse::<usize>()?);
        }
    }
    if buffer.starts_with(expected) {
        return Ok(());
    }
    Err(format!("unexpected answer: {}", String::from_utf8_lossy(buffer)).into())
}

async fn measure(peer: &Peer, time: Duration) -> Result<Round, Failure> {
    let ticks = peer.cpu_ticks();
    let started = Instant::now();
    let address = peer.address;
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|worker| tokio::spawn(async move { request_until(address, worker, started + time).await }))
        .collect();
    let mut micros = Vec::new();
    for task in tasks {
        micros.extend(task.await??);
    }
    let seconds = started.elapsed().as_secs_f64();
    micros.sort_unstable();
    let count = micros.len();
    let percentile = |share: f64| f64::from(micros[((to_f64(count) * share) as usize).min(count - 1)]);
    let cpu = ticks.zip(peer.cpu_ticks()).map_or(f64::NAN, |(before, after)| (after - before) * 10_000.0);
    Ok(Round {
        per_second: to_f64(count) / seconds,
        p50_micros: percentile(0.5),
        p99_micros: percentile(0.99),
        cpu_micros: cpu / to_f64(count),
    })
}

/// Uniform reads over one connection until the time is up; gives the micro-seconds of each.
async fn request_until(address: SocketAddr, worker: usize, end: Instant) -> Result<Vec<u32>, Failure> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut buffer, mut micros) = (Vec::with_capacity(4096), Vec::with_capacity(100_000));
    let mut number = worker;
    while Instant::now() < end {
        // A stride that visits every record in no order of the table.
        number = (number + 7919) % RECORDS;
        let request = format!(
            "GET /v2/api/call-history/{} HTTP/1.1\r\nhost: bench\r\nx-workspace-id: {WORKSPACE}\r\n\r\n",
            id(number)
        );
        let sent = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        read_answer(&mut stream, &mut buffer, b"HTTP/1.1 200").await?;
        micros.push(u32::try_from(sent.elapsed().as_micros())?);
    }
    Ok(micros)
}

fn to_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// One of the figures of a round.
type Figure = fn(&Round) -> f64;

fn median(rounds: &[Round], figure: Figure) -> f64 {
    let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn report(ours: &[Round], theirs: &[Round], options: Options, load: &str) {
    let figures: [(&str, &str, Figure); 4] = [
        ("requests_per_second", "requests per second", |round| round.per_second),
        ("p50_micros", "p50 latency, µs", |round| round.p50_micros),
        ("p99_micros", "p99 latency, µs", |round| round.p99_micros),
        ("cpu_micros", "server CPU per request, µs", |round| round.cpu_micros),
    ];
    let rows = figures.map(|(key, name, figure)| {
        let (ours, theirs) = (median(ours, figure), median(theirs, figure));
        (key, name, ours, theirs, ours / theirs)
    });
    if options.json {
        let rows = rows.map(|(key, _, ours, theirs, ratio)| {
            (key.to_owned(), serde_json::json!({"get_call": ours, "static": theirs, "ratio": ratio}))
        });
        println!("{}", serde_json::Value::Object(rows.into_iter().collect()));
        return;
    }
    println!(
        "get_call against a static handler: {RECORDS} records, {CONNECTIONS} connections, medians of {ROUNDS} rounds"
    );
    println!("load of the machine before: {load}; the load generator shares its processors\n");
    println!("{:<28}{:>12}{:>12}{:>8}", "", "get_call", "static", "ratio");
    for (_, name, ours, theirs, ratio) in rows {
        println!("{name:<28}{ours:>12.1}{theirs:>12.1}{ratio:>8.2}");
    }
}
