//! `cargo xtask`: what CI runs, and what keeps `openapi/` true.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Instant,
};

use clap::{Parser, Subcommand};
use xtask::{
    bench,
    contract::{self, Missing},
    openapi::{self, Action, Format, Outcome},
    root, tidy,
};

/// Counts allocations, for the bench.
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

/// The project's own checks and generators.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run everything that CI runs
    Ci,
    /// Check the house rules
    Tidy,
    /// Generate, check, release or compare contracts
    Openapi {
        #[command(subcommand)]
        action: Action,
    },
    /// Hand the contract to other validators and generators, and call a server with what they make; needs Node, Python, Java
    Contract,
    /// Measure everything that has a goal, each beside its own baseline
    Bench(bench::Options),
    /// Serve the static side of the bench
    #[command(hide = true)]
    BenchStatic {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        answer: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Ci => ci(),
        Task::Tidy => tidy::run(root()),
        Task::Openapi { action } => return openapi(&action),
        Task::Contract => {
            let tools = contract::Tools::install(root());
            let tools = tools.map_err(|missing| missing.to_string());
            tools.and_then(|tools| contract::run(root(), &tools).map_err(|error| error.to_string()))
        }
        Task::Bench(options) => match bench::run(root(), &options) {
            Ok(code) => return code,
            Err(error) => Err(error.to_string()),
        },
        Task::BenchStatic { listen, answer } => bench::serve_static(listen, &answer).map_err(|error| error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what an action on the contract found, and ends with its outcome.
fn openapi(action: &Action) -> ExitCode {
    let format = match action {
        Action::Check(output) | Action::Compare { output, .. } => output.format,
        Action::Generate | Action::Release => Format::Text,
    };
    let report = openapi::run(root(), action);
    // Two contracts to compare lie where the caller says, ours below the root.
    let folder = if matches!(action, Action::Compare { .. }) { Path::new("") } else { root() };
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).ok();
    print!("{}", report.render(format, read));
    ExitCode::from(report.outcome() as u8)
}

fn ci() -> Result<(), String> {
    let started = Instant::now();
    step("fmt --all --check")?;
    step("clippy --workspace --all-targets --locked -- -D warnings")?;
    step("test --workspace --locked")?;
    step("doc --workspace --no-deps --locked")?;
    println!("\n==> openapi check");
    let report = openapi::check(root());
    print!("{}", report.render(Format::Text, |_| None));
    if report.outcome() != Outcome::Fine {
        return Err("openapi/ is not as it must be".to_owned());
    }
    println!("\n==> tidy");
    tidy::run(root())?;
    println!("\n==> bench --quick");
    // That every row can be measured; a time says nothing on a machine that is shared.
    if bench::run(root(), &bench::Options::quick()).map_err(|error| error.to_string())? != ExitCode::SUCCESS {
        return Err("a row of the bench could not be measured".to_owned());
    }
    println!("\n==> contract");
    // A machine without these programs, or without their registries, says nothing about the contract.
    let left = match contract::Tools::install(root()) {
        Ok(tools) => {
            contract::run(root(), &tools).map_err(|error| error.to_string())?;
            String::new()
        }
        Err(Missing::Here(reason)) => format!(" NOT RUN: cargo xtask contract, because {reason}"),
        Err(Missing::Broken(reason)) => return Err(reason),
    };
    println!("\nEverything passes, after {} s.{left}", started.elapsed().as_secs());
    Ok(())
}

/// Runs one cargo command, as a reader could repeat it.
fn step(arguments: &str) -> Result<(), String> {
    println!("\n==> cargo {arguments}");
    let started = Instant::now();
    let mut command = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    command.args(arguments.split(' ')).current_dir(root()).env("RUSTDOCFLAGS", "-D warnings");
    let status = command.status().map_err(|error| format!("cargo {arguments}: {error}"))?;
    if !status.success() {
        return Err(format!("cargo {arguments} failed"));
    }
    println!("    {} s", started.elapsed().as_secs());
    Ok(())
}
