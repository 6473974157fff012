//! `cargo xtask`: what CI runs, and what keeps `openapi/` true.

use std::{
    net::SocketAddr,
    process::{Command, ExitCode},
    time::Instant,
};

use clap::{Parser, Subcommand};
use xtask::{bench, openapi, pages, root, tidy};

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
    /// Generate or check the contract
    Openapi {
        #[command(subcommand)]
        action: openapi::Action,
    },
    /// Measure get_call as a ratio to a static handler
    Bench(bench::Options),
    /// Measure a page under each filter and sort, on a small and on a large history
    Pages(pages::Options),
    /// Serve the static side of the bench
    #[command(hide = true)]
    BenchStatic {
        #[arg(long)]
        listen: SocketAddr,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Ci => ci(),
        Task::Tidy => tidy::run(root()),
        Task::Openapi { action } => openapi::run(root(), action),
        Task::Bench(options) => bench::run(root(), options).map_err(|error| error.to_string()),
        Task::Pages(options) => pages::run(root(), options).map_err(|error| error.to_string()),
        Task::BenchStatic { listen } => bench::serve_static(listen).map_err(|error| error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn ci() -> Result<(), String> {
    let started = Instant::now();
    step("fmt --all --check")?;
    step("clippy --workspace --all-targets --locked -- -D warnings")?;
    step("test --workspace --locked")?;
    step("doc --workspace --no-deps --locked")?;
    println!("\n==> openapi check");
    openapi::run(root(), openapi::Action::Check)?;
    println!("\n==> tidy");
    tidy::run(root())?;
    println!("\nEverything passes, after {} s.", started.elapsed().as_secs());
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
