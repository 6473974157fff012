//! The command line.

use std::{path::PathBuf, time::Duration};

use callhistory_model::{ExportQuery, FieldError, Handling, ImportMode, ImportSource};
use clap::{Args, Parser, Subcommand};

use super::settings::Settings;
use crate::faults::fault::Fault;

/// The call history service. Without a command it runs `serve`.
#[derive(Debug, Parser)]
#[command(name = "callhistory-server", version)]
pub struct Cli {
    /// What to do instead of serving the data directory.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to do it.
    #[command(flatten)]
    pub settings: Settings,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the data directory; the same as no command
    Serve,
    /// Create the database, or migrate it to the schema of this version, and end; `serve` does the same first
    Migrate,
    /// Serve a temporary database with a few thousand generated calls of the last thirty days
    Demo(DemoSettings),
    /// Create, list, revoke and rotate API keys; a server may run on the same database
    Keys {
        /// What to do.
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Copy the embedded database to a file, also while a server writes to it, and verify the copy
    Backup {
        /// The file to create; its checksum is written to FILE.sha256
        file: PathBuf,
    },
    /// Restore the embedded database from a verified copy; an existing database is not overwritten
    Restore {
        /// The copy, with its checksum in FILE.sha256
        file: PathBuf,
        /// Revoke all API keys of the copy, because it does not know which were revoked after it
        #[arg(long)]
        revoke_keys: bool,
        /// The database that the copy replaces, moved away with its -wal file: what was deleted or revoked in it after the backup is
        /// deleted and revoked again
        #[arg(long, value_name = "OLD")]
        deletions_from: Option<PathBuf>,
    },
    /// Check the database, the settings and the machine; ends with 0 (ok), 1 (warnings) or 2 (errors)
    Doctor {
        /// Check every page, record and index of the embedded database
        #[arg(long)]
        full: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Rebuild the data of metrics if `doctor --full` finds errors in it; the server must not run
    RebuildMetrics,
    /// Show, check and explain the settings
    Config {
        /// What to do.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print the OpenAPI contract of this server
    Openapi {
        /// Write it and the JSON Schemas of lines and events into this folder instead
        #[arg(long, value_name = "DIR")]
        write: Option<PathBuf>,
    },
    /// Write records from files into the database: JSON lines, arrays or pages, or CSV, plain or gzip; with the embedded database, the server must not run
    Import(ImportSettings),
    /// Write the records of the database to a file or to standard output; with the embedded database, the server must not run
    Export(ExportSettings),
}

/// What to do with settings.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print each setting with its value and where it comes from; passwords are left out
    Print,
    /// Validate the settings and the files that they name
    Check,
    /// Print a file with every setting, what it is for, and its default
    Example,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Create a key and print it; it is not shown again
    Create(NewKey),
    /// List the keys: scopes, expiry and last use
    List,
    /// Revoke a key
    Revoke {
        /// The public part of the key
        id: String,
    },
    /// Create a key with the same scopes, print it, and revoke the old one after an overlap
    Rotate {
        /// The public part of the old key
        id: String,
        /// How long the old key is still accepted: 30m, 24h, 7d
        #[arg(long, default_value = "24h", value_parser = parse_time, value_name = "TIME")]
        overlap: Duration,
    },
}

/// A key to create.
#[derive(Debug, Args)]
pub struct NewKey {
    /// The one workspace that the key opens
    #[arg(long, value_name = "ID", required_unless_present = "operator", conflicts_with = "operator")]
    pub workspace: Option<String>,
    /// An operator's key, which opens every workspace
    #[arg(long)]
    pub operator: bool,
    /// Comma-separated scopes: calls:read, calls:write, calls:delete, calls:export, phone-numbers:read
    #[arg(long, required = true, value_delimiter = ',', value_name = "SCOPES")]
    pub scopes: Vec<String>,
    /// Name shown in lists
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub name: String,
    /// Lifetime, such as 90d; unlimited by default
    #[arg(long, value_parser = parse_time, value_name = "TIME")]
    pub expires_in: Option<Duration>,
}

/// What to import.
#[derive(Debug, Args)]
pub struct ImportSettings {
    /// The files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The workspace to write to
    #[arg(long, value_name = "ID", required_unless_present = "check")]
    pub workspace: Option<String>,
    /// Only validate the files, without a database; with --workspace also their `workspaceId`
    #[arg(long)]
    pub check: bool,
    /// What happens to records that exist already: replace, merge or create
    #[arg(long, default_value = "replace", value_parser = parse_mode, value_name = "MODE")]
    pub mode: ImportMode,
    /// Write nothing if a record of a file is rejected; for files of at most 10,000 records and 32 MiB
    #[arg(long)]
    pub atomic: bool,
    /// Create records again that were deleted
    #[arg(long)]
    pub restore_deleted: bool,
    /// strict rejects records with unknown members, unreadable values or wrong units; lenient keeps what it can read
    #[arg(long, default_value = "lenient", value_parser = parse_handling, value_name = "HANDLING")]
    pub handling: Handling,
    /// generic: records of any platform, whose IDs are derived where they have none
    #[arg(long, value_parser = parse_source, value_name = "SOURCE")]
    pub source: Option<ImportSource>,
}

/// What to export.
#[derive(Debug, Args)]
pub struct ExportSettings {
    /// The workspace to read
    #[arg(long, value_name = "ID")]
    pub workspace: String,
    /// Filters and other query parameters of the export route, such as "status=failed&startedAfter=2026-01-01"
    #[arg(long, default_value = "", value_name = "QUERY")]
    pub query: String,
    /// The format: ndjson, csv, xlsx or parquet
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Comma-separated members, or columns of a table
    #[arg(long, value_name = "NAMES")]
    pub fields: Option<String>,
    /// The order, such as -duration
    #[arg(long, value_name = "MEMBER", allow_hyphen_values = true)]
    pub sort: Option<String>,
    /// The time zone of dates, such as Europe/Berlin
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,
    /// The file to write; standard output without it, or for -
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl ExportSettings {
    /// The query of the export.
    ///
    /// # Errors
    ///
    /// Says which option or parameter is wrong.
    pub(crate) fn query(&self) -> Result<ExportQuery, String> {
        let options =
            [("format", &self.format), ("fields", &self.fields), ("sort", &self.sort), ("timezone", &self.timezone)];
        // By itself first: the error says which of the flags it is about.
        ExportQuery::from_query(&self.query).map_err(|errors| format!("--query: {errors}"))?;
        let mut query = self.query.clone();
        for (name, value) in options.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))) {
            let escaped: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            query.push_str(&format!("&{name}={escaped}"));
        }
        ExportQuery::from_query(&query).map_err(|errors| errors.to_string())
    }
}

/// The size and the seed of the demonstration.
#[derive(Debug, Args)]
pub struct DemoSettings {
    /// Number of calls to generate (1 to 1,000,000)
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub calls: u32,
    /// Seed of the generator: the same seed generates the same calls
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Make requests fail: a fault, for an operation and a number of requests, such as list_calls:429*2,retry-after=1; repeatable. Adds
    /// the route /faults, which does the same while the server runs; without a value, only the route. See docs/testing.md
    #[arg(long, value_name = "FAULT", num_args = 0..=1)]
    pub faults: Option<Vec<Fault>>,
}

impl Cli {
    /// Rejects settings that would expose the records, contradict each other, or have no effect.
    ///
    /// # Errors
    ///
    /// Says what is wrong and what to do.
    pub fn check(&self) -> Result<(), String> {
        let Settings { listen, data_dir, require_keys, allow_unauthenticated_network, .. } = &self.settings;
        let databases = [
            ("--data-dir", data_dir.is_some()),
            ("--database-url", self.settings.database_url.is_some()),
            ("--database-url-file", self.settings.database_url_file.is_some()),
        ];
        let databases: Vec<_> = databases.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name).collect();
        if let [first, second, ..] = databases.as_slice() {
            return Err(format!("{first} and {second} both name a database; set one of them"));
        }
        if matches!(self.command, Some(Command::Demo(_))) && !databases.is_empty() {
            return Err("demo serves a temporary database; omit --data-dir and --database-url".to_owned());
        }
        if self.settings.tls_cert.is_some() != self.settings.tls_key.is_some() {
            return Err("--tls-cert and --tls-key belong together; set both or none".to_owned());
        }
        let rates = self.settings.rates();
        if !require_keys && (rates.requests.is_some() || rates.records.is_some()) {
            return Err("--requests-per-second and --records-per-second limit keys; set --require-keys".to_owned());
        }
        if *require_keys && *allow_unauthenticated_network {
            return Err("--require-keys and --allow-unauthenticated-network contradict each other".to_owned());
        }
        if !listen.ip().is_loopback() && !require_keys && !allow_unauthenticated_network {
            return Err(format!(
                "refusing to listen on {listen} without keys: anyone who reaches this port could read and write the \
                 records of every workspace. Set --require-keys, listen on loopback (127.0.0.1:{}) behind a proxy that \
                 authenticates its callers, or set --allow-unauthenticated-network to do it anyway.",
                listen.port()
            ));
        }
        check_log(&self.settings.log)
    }
}

/// Rejects a misspelt level, which the library would interpret as the name of a module, so that nothing would be logged.
fn check_log(filter: &str) -> Result<(), String> {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    match filter.split(',').find(|part| !part.contains('=') && !levels.contains(&part.trim())) {
        Some(part) => Err(format!("--log {filter}: {part:?} is not a level; use one of {}", levels.join(", "))),
        None => Ok(()),
    }
}

fn parse_mode(text: &str) -> Result<ImportMode, FieldError> {
    ImportMode::parse(text)
}

fn parse_source(text: &str) -> Result<ImportSource, FieldError> {
    ImportSource::parse(text)
}

fn parse_handling(text: &str) -> Result<Handling, String> {
    let known = [Handling::Strict, Handling::Lenient];
    let found = known.into_iter().find(|handling| handling.as_str() == text);
    found.ok_or_else(|| format!("{text:?} is not one of strict, lenient"))
}

/// Parses a time such as 30m, 24h or 90d.
fn parse_time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write a time such as 30m, 24h or 90d"))
}
