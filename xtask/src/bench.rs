//! How fast the service is: each row of the goals beside its own baseline, in turns, in one run.

mod bulk;
mod data;
mod feed;
mod fixed;
pub(crate) mod load;
mod postgres;
mod reads;
mod scans;
mod sdk;
mod start;
mod writes;

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use callhistory_server::demo;
use clap::Args;
use load::{Peer, Round};
use serde_json::json;
use tempfile::TempDir;

pub use fixed::serve as serve_static;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is measured. Those with foreign programs are in `docs/performance.md`, with the commands that measure them.
const ROWS: [(u8, &str); 13] = [
    (1, "get_call"),
    (3, "get_call, not modified"),
    (4, "list_calls"),
    (5, "growth"),
    (6, "durable writes"),
    (7, "import"),
    (8, "export"),
    (9, "call_metrics"),
    (10, "search"),
    (11, "change feed"),
    (12, "SDK"),
    (13, "start and memory"),
    (14, "PostgreSQL"),
];

/// How to measure.
#[derive(Debug, Clone, Default, Args)]
pub struct Options {
    /// Only this row of the table, or these
    #[arg(long, value_name = "ROW")]
    only: Vec<u8>,
    /// Ten thousand records and short rounds, with the programs of this build: shows that every row can be measured
    #[arg(long)]
    quick: bool,
    /// Measure ten million records, too; to make them takes an hour and 20 GB
    #[arg(long)]
    ten_million: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Where the histories are kept that are measured [default: callhistory-bench in the user's cache]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Options {
    /// A run that shows that every row can be measured.
    #[must_use]
    pub fn quick() -> Self {
        Self { quick: true, ..Self::default() }
    }
}

/// What the rows are measured with.
struct Bench {
    server: PathBuf,
    xtask: PathBuf,
    data: PathBuf,
    scratch: TempDir,
    quick: bool,
    ten_million: bool,
}

/// A goal for the figure of a line.
#[derive(Clone, Copy)]
enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// There is none: the figure explains another.
    Shown,
}

/// One line of the table.
struct Line {
    what: String,
    goal: Goal,
    /// What the goal is about, and its unit: most often a ratio.
    figure: f64,
    unit: &'static str,
    /// The two sides in words.
    ours: String,
    baseline: String,
    /// Processor time of the service for each request, in microseconds, and the most memory that it had, in MiB.
    cpu_micros: Option<f64>,
    peak_mib: Option<f64>,
}

impl Line {
    fn new(what: impl Into<String>, goal: Goal, figure: f64, unit: &'static str) -> Self {
        let (ours, baseline) = (String::new(), String::new());
        Self { what: what.into(), goal, figure, unit, ours, baseline, cpu_micros: None, peak_mib: None }
    }

    /// Requests a second beside those of the baseline.
    fn rates(what: impl Into<String>, goal: Goal, ours: &Round, baseline: &Round, peer: &Peer) -> Self {
        let side = |round: &Round| format!("{:.0}/s, {:.1} µs CPU", round.per_second, round.cpu_micros);
        Self {
            ours: side(ours),
            baseline: side(baseline),
            cpu_micros: Some(ours.cpu_micros),
            peak_mib: peer.memory_mib().ok().map(|(_, peak)| peak),
            ..Self::new(what, goal, ours.per_second / baseline.per_second, "×")
        }
    }

    fn between(mut self, ours: impl Into<String>, baseline: impl Into<String>) -> Self {
        (self.ours, self.baseline) = (ours.into(), baseline.into());
        self
    }

    fn with_peak(mut self, peak_mib: f64) -> Self {
        self.peak_mib = Some(peak_mib);
        self
    }

    fn verdict(&self) -> &'static str {
        let reached = match self.goal {
            Goal::AtLeast(goal) => self.figure >= goal,
            Goal::AtMost(goal) => self.figure <= goal,
            Goal::Shown => return "",
        };
        if reached { "reached" } else { "MISSED" }
    }

    fn goal(&self) -> String {
        match self.goal {
            Goal::AtLeast(goal) => format!("≥ {goal}"),
            Goal::AtMost(goal) => format!("≤ {goal}"),
            Goal::Shown => String::new(),
        }
    }
}

/// The lines of a row, or why it has none.
type Outcome = Result<Vec<Line>, Failure>;

/// Measures the rows and prints them; ends with 1 where a row could not be measured, and not where one misses its goal.
///
/// # Errors
///
/// Fails when the programs cannot be built.
pub fn run(root: &Path, options: &Options) -> Result<ExitCode, Failure> {
    if let Some(unknown) = options.only.iter().find(|row| !ROWS.iter().any(|(known, _)| known == *row)) {
        return Err(format!("--only {unknown}: there is no such row; they are 1 and 3 to 14").into());
    }
    // The load generator is a part of the measurement: outside of quick runs it is an optimized build as well.
    if cfg!(debug_assertions) && !options.quick {
        let program = build(root, true)?.join("xtask");
        let status = Command::new(program).args(std::env::args_os().skip(1)).current_dir(root).status()?;
        return Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)));
    }
    let programs = if cfg!(debug_assertions) { build(root, false)? } else { own_folder("release")? };
    let bench = Bench {
        server: programs.join("callhistory-server"),
        xtask: programs.join("xtask"),
        data: options.data.clone().unwrap_or_else(data::folder),
        scratch: tempfile::Builder::new().prefix("callhistory-bench-").tempdir_in(scratch_folder(&programs))?,
        quick: options.quick,
        ten_million: options.ten_million,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let before = other_load()?;
    let mut rows = Vec::new();
    for (row, name) in ROWS {
        if !options.only.is_empty() && !options.only.contains(&row) {
            continue;
        }
        let started = Instant::now();
        eprintln!("row {row}: {name}");
        let outcome = runtime.block_on(bench.measure(row)).and_then(|lines| {
            let is_measured = |line: &Line| line.figure.is_finite();
            if lines.is_empty() || !bench.quick && !lines.iter().all(is_measured) {
                return Err("some of its figures are none".into());
            }
            Ok(lines)
        });
        eprintln!("    {:.0} s", started.elapsed().as_secs_f64());
        rows.push((row, name, outcome));
    }
    let load = [before, other_load()?];
    let text = if options.json { as_json(&rows, load) } else { as_table(&rows, load) };
    println!("{text}");
    Ok(if rows.iter().any(|(_, _, outcome)| outcome.is_err()) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Builds what is measured, and says where it is.
fn build(root: &Path, optimized: bool) -> Result<PathBuf, Failure> {
    let mut command = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    command.args(["build", "--package", "callhistory-server", "--package", "xtask"]).current_dir(root);
    if optimized {
        command.arg("--release");
    }
    if !command.status()?.success() {
        return Err("the build failed".into());
    }
    own_folder(if optimized { "release" } else { "debug" })
}

/// The folder of a profile beside that of this program, wherever the target directory is.
fn own_folder(profile: &str) -> Result<PathBuf, Failure> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).ok_or("this program lies in no target directory")?;
    Ok(target.join(profile))
}

/// Databases are written on the disk of the build and not in a folder of temporary files, which may be memory.
fn scratch_folder(programs: &Path) -> &Path {
    programs.parent().unwrap_or(programs)
}

impl Bench {
    async fn measure(&self, row: u8) -> Outcome {
        match row {
            1 => reads::point(self).await,
            3 => reads::not_modified(self).await,
            4 => scans::pages(self).await,
            5 => scans::growth(self).await,
            6 => writes::durable(self).await,
            7 => bulk::import(self).await,
            8 => bulk::export(self).await,
            9 => scans::metrics(self).await,
            10 => scans::search(self).await,
            11 => feed::latency(self).await,
            12 => sdk::overhead(self).await,
            13 => start::footprint(self).await,
            _ => postgres::beside_bare(self).await,
        }
    }

    fn rounds(&self) -> usize {
        if self.quick { 1 } else { 3 }
    }

    fn time(&self) -> Duration {
        Duration::from_millis(if self.quick { 150 } else { 4000 })
    }

    /// The size of the history that most rows are about.
    fn records(&self) -> u32 {
        if self.quick { data::SMALL } else { data::LARGE }
    }

    fn history(&self, records: u32) -> Result<PathBuf, Failure> {
        data::history(&self.server, &self.data, records)
    }

    /// A history that may be written to.
    fn copy_of(&self, records: u32) -> Result<PathBuf, Failure> {
        let copy = self.scratch.path().join(format!("copy-{records}"));
        if copy.exists() {
            fs::remove_dir_all(&copy)?;
        }
        fs::create_dir(&copy)?;
        for file in fs::read_dir(self.history(records)?)? {
            let file = file?;
            fs::copy(file.path(), copy.join(file.file_name()))?;
        }
        Ok(copy)
    }

    /// The service as it is in production: callers need keys, the log is written, metrics are counted.
    async fn service(&self, data: &Path) -> Result<Service, Failure> {
        let database = data.join("callhistory.db");
        if database.exists() {
            // How fast the disk is read is not what is measured.
            io::copy(&mut fs::File::open(database)?, &mut io::sink())?;
        }
        let key = Command::new(&self.server)
            .args(["keys", "create", "--workspace", demo::WORKSPACE, "--name", "bench", "--data-dir"])
            .arg(data)
            .args(["--scopes", "calls:read,calls:write,calls:delete,calls:export,numbers:read"])
            .output()?;
        let printed = String::from_utf8_lossy(&key.stdout);
        let key = printed.split_whitespace().find(|word| word.starts_with("ch_live_")).ok_or("no key was made")?;
        let operations = load::free_address()?;
        let mut command = Command::new(&self.server);
        command.args(["--require-keys", "--operations-listen", &operations.to_string(), "--data-dir"]).arg(data);
        Ok(Service { peer: Peer::start(&mut command).await?, operations, key: key.to_owned() })
    }

    /// One side after the other, so that both have the same weather; gives the medians.
    async fn in_turns(
        &self,
        (ours, our_requests): (&Peer, &load::Requests),
        (theirs, their_requests): (&Peer, &load::Requests),
    ) -> Result<[Round; 2], Failure> {
        // What is cold the first time is not what is measured.
        load::measure(ours, our_requests, self.time() / 4).await?;
        let (mut our_rounds, mut their_rounds) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds() {
            their_rounds.push(load::measure(theirs, their_requests, self.time()).await?);
            our_rounds.push(load::measure(ours, our_requests, self.time()).await?);
        }
        Ok([Round::median(&our_rounds), Round::median(&their_rounds)])
    }
}

/// A service that is measured.
struct Service {
    peer: Peer,
    operations: std::net::SocketAddr,
    key: String,
}

impl Service {
    /// A request without a body for what is below the route of the calls.
    fn get(&self, target: &str, header: &str) -> Vec<u8> {
        let (workspace, key) = (demo::WORKSPACE, &self.key);
        format!(
            "GET /v2/api/call-history{target} HTTP/1.1\r\nhost: bench\r\nx-workspace-id: {workspace}\r\n\
             x-api-key: {key}\r\n{header}\r\n"
        )
        .into_bytes()
    }

    fn put(&self, id: &str, body: &[u8]) -> Vec<u8> {
        self.put_with(id, "", body)
    }

    /// A write that its condition refuses.
    fn refused_put(&self) -> Vec<u8> {
        self.put_with("never", "if-match: \"0\"\r\n", b"{}")
    }

    fn put_with(&self, id: &str, header: &str, body: &[u8]) -> Vec<u8> {
        let (workspace, key, length) = (demo::WORKSPACE, &self.key, body.len());
        let mut request = format!(
            "PUT /v2/api/call-history/{id} HTTP/1.1\r\nhost: bench\r\nx-workspace-id: {workspace}\r\n\
             x-api-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{header}\r\n"
        )
        .into_bytes();
        request.extend_from_slice(body);
        request
    }

    /// A number of the service's own metrics.
    async fn metric(&self, name: &str) -> Result<f64, Failure> {
        let mut connection = load::Connection::open(self.operations).await?;
        connection.exchange(b"GET /metrics HTTP/1.1\r\nhost: bench\r\n\r\n", "200").await?;
        let text = String::from_utf8_lossy(connection.body()).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        Ok(line.unwrap_or("0").parse()?)
    }
}

/// The share of the processors that others use, in a second in which this program does nothing.
fn other_load() -> Result<f64, Failure> {
    let busy = || -> Result<(f64, f64), Failure> {
        let stat = fs::read_to_string("/proc/stat")?;
        let ticks: Vec<f64> = stat.lines().next().unwrap_or_default().split(' ').flat_map(str::parse).collect();
        let idle = ticks.get(3).zip(ticks.get(4)).map(|(idle, waiting)| idle + waiting).ok_or("no idle time")?;
        Ok((ticks.iter().sum::<f64>() - idle, ticks.iter().sum()))
    };
    let before = busy()?;
    std::thread::sleep(Duration::from_secs(1));
    let after = busy()?;
    Ok((after.0 - before.0) / (after.1 - before.1))
}

fn weather([before, after]: [f64; 2]) -> String {
    let busy = if before.max(after) > 0.1 { ": it was BUSY, and the figures say less" } else { "" };
    format!("the machine without this program: {:.0} % before, {:.0} % after{busy}", before * 100.0, after * 100.0)
}

fn as_table(rows: &[(u8, &str, Outcome)], load: [f64; 2]) -> String {
    let mut text = String::from(
        "| row | what | goal | figure | | ours | baseline | CPU µs | peak MiB |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    let number = |figure: Option<f64>| figure.map_or_else(String::new, |figure| format!("{figure:.1}"));
    for (row, name, outcome) in rows {
        match outcome {
            Err(error) => {
                let _ = writeln!(text, "| {row} | {name} | | | NOT MEASURED: {error} | | | | |");
            }
            Ok(lines) => lines.iter().for_each(|line| {
                let Line { what, figure, unit, ours, baseline, cpu_micros, peak_mib, .. } = line;
                let (goal, verdict) = (line.goal(), line.verdict());
                let (cpu, peak) = (number(*cpu_micros), number(*peak_mib));
                let _ = writeln!(
                    text,
                    "| {row} | {what} | {goal} | {figure:.2} {unit} | {verdict} | {ours} | {baseline} | {cpu} | {peak} |"
                );
            }),
        }
    }
    text + "64 connections with keep-alive unless a line says otherwise, of one load generator on this machine; medians of three\n"
        + &weather(load)
}

fn as_json(rows: &[(u8, &str, Outcome)], load: [f64; 2]) -> String {
    let line = |line: &Line| {
        let Line { what, figure, unit, ours, baseline, cpu_micros, peak_mib, .. } = line;
        json!({
            "what": what, "goal": line.goal(), "figure": figure, "unit": unit, "verdict": line.verdict(),
            "ours": ours, "baseline": baseline, "cpu_micros": cpu_micros, "peak_mib": peak_mib,
        })
    };
    let rows: Vec<_> = rows
        .iter()
        .map(|(row, name, outcome)| match outcome {
            Ok(lines) => json!({"row": row, "name": name, "lines": lines.iter().map(line).collect::<Vec<_>>()}),
            Err(error) => json!({"row": row, "name": name, "not_measured": error.to_string()}),
        })
        .collect();
    json!({"rows": rows, "other_load": {"before": load[0], "after": load[1]}}).to_string()
}
