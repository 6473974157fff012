//! `cargo xtask`: the checks of the repository, and the commands that generate and compare `openapi/`.

use std::{error::Error, ffi::OsString, path::Path, process::ExitCode};

use clap::{Parser, Subcommand};
use xtask::{
    build_server, cargo, ci, interop,
    openapi::generate::{self, Action, Generated},
    package, root, setup, system, tidy, vendor_console,
};

/// The project's own checks and generators.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run every check that must pass before a change lands
    Ci {
        /// Only this part
        #[arg(long, value_enum)]
        only: Option<ci::Part>,
    },
    /// Run the system tests: crashes, disk faults, hostile clients, fuzz targets, a short bench, the suite under load
    System(system::Options),
    /// Install PostgreSQL for the tests, unless it is installed
    Setup,
    /// Check the house rules
    Tidy,
    /// Generate, check or release the contract
    Openapi {
        #[command(subcommand)]
        action: Action,
    },
    /// Validate the contract with other tools, generate and test clients, open the console in a browser; needs Node, Python, Java
    Interop {
        /// Only this part
        #[arg(long, value_enum)]
        only: Option<interop::InteropPart>,
    },
    /// Check the crates that are published: packages, features, minimum version of Rust, WebAssembly, public API
    Package(package::PackageOptions),
    /// Take the pictures of docs/images/ again, from the console with generated calls; needs Node and Chromium
    Screenshots,
    /// Fetch the libraries of the console from npm, with their licences and digests
    VendorConsole,
    /// Measure each row of docs/performance.md next to its baseline; takes the options of callhistory-bench
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Ci { only } => ci::run(root(), only, is_complete()),
        Task::System(options) => system::run(root(), &options, is_complete()),
        Task::Package(options) => package::run(root(), &options, is_complete()),
        Task::Setup => setup::install_postgres(root()).map(|installed| {
            println!("{}", installed.as_deref().unwrap_or("PostgreSQL is installed"));
        }),
        Task::Tidy => tidy::run(root()),
        Task::Openapi { action } => return openapi(&action),
        Task::Interop { only } => with_tools(only, |tools, server| interop::run(root(), tools, server, only)),
        Task::Screenshots => with_tools(Some(interop::InteropPart::Console), |tools, server| {
            interop::take_screenshots(root(), tools, server)
        }),
        Task::VendorConsole => vendor_console::run(root()),
        Task::Bench { options } => return bench(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Installs the tools, builds the server, and runs something with both.
fn with_tools(
    only: Option<interop::InteropPart>,
    run: impl FnOnce(&interop::Tools, &Path) -> Result<(), Box<dyn Error + Send + Sync>>,
) -> Result<(), String> {
    let tools = interop::Tools::install(root(), only).map_err(|error| error.to_string())?;
    run(&tools, &build_server()?).map_err(|error| error.to_string())
}

/// Whether every check must run: CI services set `CI`, and a check that cannot run there counts as failed.
#[expect(clippy::disallowed_methods, reason = "CI services set a variable")]
fn is_complete() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// Runs an action on the contract, and prints its report; the exit code is the outcome.
fn openapi(action: &Action) -> ExitCode {
    let report = match build_server().and_then(|server| Generated::by_server(&server)) {
        Ok(generated) => generate::run(root(), action, &generated),
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    print!("{}", report.text());
    ExitCode::from(report.outcome() as u8)
}

/// Builds the bench with the profile that ships, and runs it.
fn bench(options: &[OsString]) -> ExitCode {
    match cargo("run --locked --profile dist --package callhistory-bench --").args(options).status() {
        Ok(status) => ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)),
        Err(error) => {
            eprintln!("cargo run --package callhistory-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
