//! The sub-commands of the program, one module each; the short ones are here.

mod config;
pub mod demo;
mod doctor;
mod import_export;
mod keys;
mod restore;
mod serve;

use std::{io::Write as _, path::Path, process::ExitCode, sync::Arc, time::Duration};

use callhistory_model::Timestamp;
use callhistory_store::{Backup, CallStore, DatabaseUrl, RestoreOptions, StoreError, StoreOptions};

use crate::{
    api,
    auth::{rate_limit::MonotonicClock, token::Token},
    config::{cli::Command, settings::Settings, sources::SettingSources},
    ids::{Clock, Randomness},
    telemetry,
};

/// How long the store may take to finish its writes when the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a command failed: the last line on standard error.
pub type CommandError = Box<dyn std::error::Error>;

/// What a command takes from the operating system.
#[derive(Clone, Copy)]
pub struct Environment {
    /// The time.
    pub now: Clock,
    /// Random bits for IDs, which need not be secret.
    pub random: Randomness,
    /// The time since some fixed moment. It never goes back.
    pub monotonic: MonotonicClock,
    /// The random bytes of an API key.
    pub secret: fn() -> Result<[u8; Token::RANDOM_BYTES], String>,
}

impl Environment {
    fn timestamp(&self) -> Timestamp {
        (self.now)().into()
    }
}

/// Runs the command of these settings.
///
/// # Errors
///
/// Says why the command failed.
pub fn run(sources: &SettingSources, environment: Environment) -> Result<ExitCode, CommandError> {
    let settings = &sources.cli.settings;
    let command = sources.cli.command.as_ref().unwrap_or(&Command::Serve);
    // The first commands need neither a log nor a thread pool.
    match command {
        Command::Config { command } => config::run(sources, *command)?,
        Command::Openapi { write } => write_contract(write.as_deref())?,
        Command::Doctor { full, json } => return doctor::run(sources, *full, *json, &environment.timestamp()),
        Command::Backup { file } => {
            let backup = callhistory_store::backup(&settings.database_url()?, file)?;
            print(&format!("{}: {}.", file.display(), describe(&backup)));
        }
        Command::Restore { file, revoke_keys, deletions_from } => {
            let options = RestoreOptions { revokes_keys: *revoke_keys, deletions_from: deletions_from.as_deref() };
            print(&restore::run(&settings.database_url()?, file, options, &environment.timestamp())?);
        }
        Command::RebuildMetrics => {
            let calls = callhistory_store::rebuild_metrics(&settings.database_url()?)?;
            print(&format!("The metrics are rebuilt from {calls} records."));
        }
        _ => run_with_runtime(settings, command, environment)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn run_with_runtime(settings: &Settings, command: &Command, environment: Environment) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let telemetry = telemetry::start(&settings.log, runtime.handle())?;
    let has_traces = telemetry.has_traces();
    let result = runtime.block_on(async {
        match command {
            Command::Demo(demo) => serve::demo(settings, demo, has_traces, environment).await,
            Command::Keys { command } => {
                let keys = callhistory_store::open_api_keys(&existing_database(settings)?).await?;
                print(&keys::run(&*keys, command, environment).await?);
                Ok(())
            }
            Command::Migrate => {
                let url = settings.database_url()?;
                close(&open_store(settings, &url).await?).await?;
                print(&format!("{url} has the schema of this version."));
                Ok(())
            }
            Command::Import(import) => {
                let (max_bytes, now) = (settings.max_record_bytes(), || environment.timestamp());
                if import.check {
                    return import_export::import(None, import, max_bytes, now).await;
                }
                let store = open_store(settings, &existing_database(settings)?).await?;
                let result = import_export::import(Some(&store), import, max_bytes, now).await;
                close(&store).await.and(result)
            }
            Command::Export(export) => {
                let store = open_store(settings, &existing_database(settings)?).await?;
                let result = import_export::export(&store, export).await;
                close(&store).await.and(result)
            }
            _ => serve::run(settings, has_traces, environment).await,
        }
    });
    // Sends the last traces, which needs the runtime.
    drop(telemetry);
    // A task that hangs must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Opens a store with the bounds of the settings.
async fn open_store(settings: &Settings, url: &DatabaseUrl) -> Result<Arc<dyn CallStore>, StoreError> {
    let options = StoreOptions {
        max_record_bytes: settings.max_record_bytes(),
        numbering_plan: settings.default_country,
        ..StoreOptions::default()
    };
    callhistory_store::open_with(url, options).await
}

/// The database of a command that must not create one: in a mistyped directory, it would work on an empty database.
fn existing_database(settings: &Settings) -> Result<DatabaseUrl, CommandError> {
    let url = settings.database_url()?;
    callhistory_store::require_database(&url)?;
    Ok(url)
}

fn describe(backup: &Backup) -> String {
    let Backup { bytes, sha256, workspaces, calls, changes, .. } = backup;
    format!("{calls} records and {changes} changes of {workspaces} workspaces, {bytes} bytes, sha256 {sha256}")
}

/// Prints the contract, or writes its files into a folder.
fn write_contract(folder: Option<&Path>) -> Result<(), CommandError> {
    let Some(folder) = folder else {
        print(api::contract_document().trim_end());
        return Ok(());
    };
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(failed)?;
    for (name, text) in api::contract_files() {
        std::fs::write(folder.join(name), text).map_err(failed)?;
    }
    Ok(())
}

/// Closes the store. A disk that hangs must not keep the process alive; a write that is lost here was not acknowledged.
async fn close(store: &Arc<dyn CallStore>) -> Result<(), CommandError> {
    let closed = tokio::time::timeout(CLOSE_TIMEOUT, store.close()).await;
    closed.map_err(|_| "the database did not close in time; every acknowledged write is on disk".into())
}

/// Prints a line, and ignores a closed standard output.
fn print(text: &str) {
    drop(writeln!(std::io::stdout(), "{text}"));
}
