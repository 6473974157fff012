//! Measures callhistory: each row compared with its own baseline, alternating, in one run, on both histories.

mod bench;
mod changes;
mod error;
mod export;
mod footprint;
mod get;
mod histories;
mod import;
mod list;
mod load;
mod metrics;
mod peers;
mod postgres;
mod sdk;
mod server;
mod table;
mod writes;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use bench::Bench;
use callhistory_test_support::history::History;
use clap::{Parser, Subcommand};
use error::BoxError;
use peers::static_baseline;
use procfs::{CurrentSI as _, KernelStats};
use table::{Outcome, Row};

/// The rows by their numbers in docs/performance.md, each with whether it depends on the history.
const ROWS: [(u8, &str, bool); 13] = [
    (1, "get_call", true),
    (3, "get_call, not modified", true),
    (4, "list_calls", true),
    (5, "growth", true),
    (6, "durable writes", true),
    (7, "import", true),
    (8, "export", true),
    (9, "metrics", true),
    (10, "search", true),
    (11, "change feed", false),
    (12, "SDK", false),
    (13, "start and memory", true),
    (14, "PostgreSQL", true),
];

#[derive(Debug, Parser)]
#[command(name = "callhistory-bench")]
struct Cli {
    #[command(subcommand)]
    command: Option<Task>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Serve one recorded response to every request
    #[command(hide = true)]
    Static {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        response: PathBuf,
    },
    /// Write the calls of one workspace of a history as NDJSON to standard output
    Generate {
        /// A or B
        #[arg(value_parser = parse_history)]
        history: History,
        /// How many calls the whole history has
        records: u32,
        /// Which workspace to write
        #[arg(long, default_value = callhistory_test_support::history::WORKSPACE)]
        workspace: String,
    },
}

/// What to measure.
#[derive(Debug, Clone, Default, clap::Args)]
struct Options {
    /// Only this row, or these
    #[arg(long, value_name = "ROW")]
    only: Vec<u8>,
    /// Only this history: A (ordered) or B (real)
    #[arg(long, value_name = "A|B", value_parser = parse_history)]
    history: Option<History>,
    /// Ten thousand records and short rounds: shows that every row can be measured
    #[arg(long)]
    quick: bool,
    /// Measure ten million records, too; to import them takes hours and 20 GB
    #[arg(long)]
    ten_million: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Where the imported histories are kept [default: callhistory-bench in the user's cache]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

fn parse_history(text: &str) -> Result<History, String> {
    let known = History::ALL.into_iter().find(|history| history.name() == text);
    known.ok_or_else(|| "the histories are A and B".to_owned())
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Task::Static { listen, response }) => {
            static_baseline::serve(listen, &response).map(|()| ExitCode::SUCCESS)
        }
        Some(Task::Generate { history, records, workspace }) => {
            histories::write_lines(history, records, &workspace, &mut io::BufWriter::new(io::stdout().lock()))
                .map(|_| ExitCode::SUCCESS)
        }
        None => run(&cli.options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("callhistory-bench: {error}");
        ExitCode::FAILURE
    })
}

/// Measures the rows and prints them; ends with 1 when a row could not be measured, and not when one misses its goal.
fn run(options: &Options) -> Result<ExitCode, BoxError> {
    if let Some(unknown) = options.only.iter().find(|row| !ROWS.iter().any(|(known, ..)| known == *row)) {
        return Err(format!("--only {unknown}: is not a row; the rows are 1 and 3 to 14").into());
    }
    let program = std::env::current_exe()?;
    let profile = program.parent().ok_or("this program has no folder")?;
    let mut bench = Bench {
        server_program: build_server(profile)?,
        data: options.data.clone().unwrap_or_else(histories::folder),
        // On the disk of the build: a folder of temporary files may be memory.
        scratch: tempfile::Builder::new().prefix("callhistory-bench-").tempdir_in(profile)?,
        program,
        history: History::Ordered,
        quick: options.quick,
        ten_million: options.ten_million,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let before = other_load()?;
    let mut rows = Vec::new();
    for (number, name, depends_on_history) in ROWS {
        if !options.only.is_empty() && !options.only.contains(&number) {
            continue;
        }
        for history in History::ALL {
            let is_chosen = options.history.is_none_or(|chosen| chosen == history);
            if !is_chosen || (!depends_on_history && history != options.history.unwrap_or(History::Real)) {
                continue;
            }
            bench.history = history;
            let started = Instant::now();
            eprintln!("row {number}, history {}: {name}", history.name());
            let outcome = runtime.block_on(measure(&bench, number)).and_then(|lines| {
                let is_measured = lines.iter().all(|line| line.figure.is_finite());
                if lines.is_empty() || !bench.quick && !is_measured {
                    return Err("a figure is missing".into());
                }
                Ok(lines)
            });
            eprintln!("    {:.0} s", started.elapsed().as_secs_f64());
            rows.push(Row { number, history: history.name(), name, outcome });
        }
    }
    let load = [before, other_load()?];
    println!("{}", if options.json { table::as_json(&rows, load) } else { table::as_markdown(&rows, load) });
    Ok(if rows.iter().any(|row| row.outcome.is_err()) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Builds the server in the profile of this program.
fn build_server(profile: &Path) -> Result<PathBuf, BoxError> {
    let name = profile.file_name().and_then(|name| name.to_str()).ok_or("this program lies in no profile")?;
    let name = if name == "debug" { "dev" } else { name };
    let mut command = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    command.args(["build", "--locked", "--profile", name, "--package", "callhistory-server"]);
    if !command.current_dir(env!("CARGO_MANIFEST_DIR")).status()?.success() {
        return Err("the server does not build".into());
    }
    Ok(profile.join("callhistory-server"))
}

async fn measure(bench: &Bench, row: u8) -> Outcome {
    match row {
        1 => get::get_call(bench).await,
        3 => get::not_modified(bench).await,
        4 => list::pages(bench).await,
        5 => list::growth(bench).await,
        6 => writes::durable(bench).await,
        7 => import::import(bench).await,
        8 => export::export(bench).await,
        9 => metrics::metrics(bench).await,
        10 => list::search(bench).await,
        11 => changes::latency(bench).await,
        12 => sdk::overhead(bench).await,
        13 => footprint::footprint(bench).await,
        _ => postgres::compared_with_bare(bench).await,
    }
}

/// The share of the processors that others use, in a second in which this program sleeps.
fn other_load() -> Result<f64, BoxError> {
    let busy = || -> Result<(f64, f64), BoxError> {
        let time = KernelStats::current()?.total;
        let idle = time.idle + time.iowait.unwrap_or_default();
        let busy =
            time.user + time.nice + time.system + time.irq.unwrap_or_default() + time.softirq.unwrap_or_default();
        Ok((busy as f64, (busy + idle) as f64))
    };
    let before = busy()?;
    std::thread::sleep(Duration::from_secs(1));
    let after = busy()?;
    Ok((after.0 - before.0) / (after.1 - before.1))
}
