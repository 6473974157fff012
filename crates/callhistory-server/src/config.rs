//! The settings: each is a flag, a `CALLHISTORY_*` variable and a line of a file, declared once.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Parser, Subcommand};

use crate::{Tls, rates::Rates};

/// The call history service. Without a command it serves.
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
    /// Make the database what this version needs, and end; serving does the same first
    Migrate,
    /// Serve a throw-away history of a few thousand calls over the last thirty days
    Demo(DemoSettings),
    /// Make, list, revoke and replace the keys of callers; a server may run on the same database
    Keys {
        /// What to do.
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Copy the embedded database to a file, also while a server writes to it, and prove the copy
    Backup {
        /// The file to make; its checksum is left beside it in FILE.sha256
        file: PathBuf,
    },
    /// Make a proved copy the embedded database, where there is none
    Restore {
        /// The copy, with its checksum beside it in FILE.sha256
        file: PathBuf,
    },
    /// Say what is good, doubtful (1) or bad (2) about the database, the settings and the machine
    Doctor {
        /// Read the whole embedded database
        #[arg(long)]
        whole: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Put what the numbers of calls are counted from together anew, where `doctor --whole` says that it is not right; the
    /// server must not run
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
    /// Write records from files into the database: NDJSON or JSON arrays, plain or gzip; with the embedded database, the server must not run
    Import(ImportSettings),
    /// Write the records of the database to a file or to standard output; with the embedded database, the server must not run
    Export(ExportSettings),
}

/// What to do with settings.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print each setting with its value and where it comes from; passwords are left out
    Print,
    /// End with an error where the settings, or the files that they name, could not be served with
    Check,
    /// Print a file with every setting, what it is for, and its default
    Example,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key and print it; it is not shown again
    Create(NewKey),
    /// List the keys: what they allow, until when, and when they were last used
    List,
    /// Refuse a key from now on
    Revoke {
        /// The public part of the key
        id: String,
    },
    /// Make a key that allows the same, print it, and revoke the old one after a while
    Rotate {
        /// The public part of the old key
        id: String,
        /// How long the old key is still accepted: 30m, 24h, 7d
        #[arg(long, default_value = "24h", value_parser = parse_time, value_name = "TIME")]
        overlap: Duration,
    },
}

/// A key to be made.
#[derive(Debug, Args)]
pub struct NewKey {
    /// The one workspace that the key opens
    #[arg(long, value_name = "ID", required_unless_present = "operator", conflicts_with = "operator")]
    pub workspace: Option<String>,
    /// An operator's key, which opens every workspace
    #[arg(long)]
    pub operator: bool,
    /// What it allows, with commas between: calls:read, calls:write, calls:delete, calls:export, phone-numbers:read
    #[arg(long, required = true, value_delimiter = ',', value_name = "SCOPES")]
    pub scopes: Vec<String>,
    /// What to call it in lists
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub name: String,
    /// How long it is accepted, such as 90d; for ever without it
    #[arg(long, value_parser = parse_time, value_name = "TIME")]
    pub expires_in: Option<Duration>,
}

/// A time as a whole number with its unit.
fn parse_time(text: &str) -> Result<Duration, String> {
    let error = || format!("{text:?} is no time such as 30m, 24h or 90d");
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(error()),
    };
    let number: u64 = number.parse().map_err(|_| error())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(error)
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
    /// Only check the files against the rules of an import, without a database; with --workspace also whose they are
    #[arg(long)]
    pub check: bool,
}

/// What to export.
#[derive(Debug, Args)]
pub struct ExportSettings {
    /// The workspace to read
    #[arg(long, value_name = "ID")]
    pub workspace: String,
    /// Which calls and how, in the parameters of the export route, such as "format=csv&status=failed"
    #[arg(long, default_value = "", value_name = "QUERY")]
    pub query: String,
    /// The file to write; standard output without it
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// The size and the seed of the demonstration.
#[derive(Debug, Args)]
pub struct DemoSettings {
    /// How many calls to make up (1 to 1,000,000)
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub calls: u32,
    /// The same seed makes up the same calls
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// The settings of a running server.
#[derive(Debug, Args)]
pub struct Settings {
    /// A file of settings, such as `config example` prints; variables and flags go before it
    #[arg(long, global = true, env = "CALLHISTORY_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to listen, as ADDRESS:PORT; port 0 takes a free one
    #[arg(long, global = true, env = "CALLHISTORY_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDR:PORT")]
    pub listen: SocketAddr,
    /// Where to answer /metrics, /healthz and /readyz for operators, as ADDRESS:PORT; it asks for no key
    #[arg(long, global = true, env = "CALLHISTORY_OPERATIONS_LISTEN", value_name = "ADDR:PORT")]
    pub operations_listen: Option<SocketAddr>,
    /// Where the embedded database lives; created where it does not exist [default: callhistory-data]
    #[arg(long, global = true, env = "CALLHISTORY_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Which database to use instead of the data directory: sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(long, global = true, env = "CALLHISTORY_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// A file that holds the database URL, for one with a password
    #[arg(long, global = true, env = "CALLHISTORY_DATABASE_URL_FILE", value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,
    /// Ask every caller for a key, which `keys create` makes; without it, x-workspace-id is trusted
    #[arg(long, global = true, env = "CALLHISTORY_REQUIRE_KEYS")]
    pub require_keys: bool,
    /// How many requests each key may send in a second; no bound without it
    #[arg(long, global = true, env = "CALLHISTORY_REQUESTS_PER_SECOND", value_name = "NUMBER")]
    pub requests_per_second: Option<NonZeroU32>,
    /// How many records each key may read in a second, at least the 1,000 of a page at once; no bound without it
    #[arg(long, global = true, env = "CALLHISTORY_RECORDS_PER_SECOND", value_name = "NUMBER")]
    pub records_per_second: Option<NonZeroU32>,
    /// The certificate to serve with, and those that vouch for it, in PEM; read again when it changes
    #[arg(long, global = true, env = "CALLHISTORY_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM
    #[arg(long, global = true, env = "CALLHISTORY_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Listen beyond loopback although there are no keys: whoever reaches the port reads and writes every workspace
    #[arg(long, global = true, env = "CALLHISTORY_ALLOW_UNAUTHENTICATED_NETWORK")]
    pub allow_unauthenticated_network: bool,
    /// What to log: a level (off, error, warn, info, debug, trace), or a list such as warn,callhistory_server=debug
    #[arg(long, global = true, env = "CALLHISTORY_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
}

impl Settings {
    /// The certificate to serve with, if there is one.
    ///
    /// # Errors
    ///
    /// Those of [`Tls::load`].
    pub fn tls(&self) -> Result<Option<Tls>, String> {
        self.tls_cert.as_ref().zip(self.tls_key.as_ref()).map(|(cert, key)| Tls::load(cert, key)).transpose()
    }

    /// What each key may ask for.
    #[must_use]
    pub fn rates(&self) -> Rates {
        Rates { requests: self.requests_per_second, records: self.records_per_second }
    }

    /// The database to open.
    ///
    /// # Errors
    ///
    /// Fails where the file that holds its URL cannot be read.
    pub fn database_url(&self) -> Result<String, String> {
        if let Some(path) = &self.database_url_file {
            let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            return Ok(text.trim().to_owned());
        }
        let directory = self.data_dir.as_deref().unwrap_or(Path::new("callhistory-data"));
        let embedded = || format!("sqlite:{}", directory.join("callhistory.db").display());
        Ok(self.database_url.clone().unwrap_or_else(embedded))
    }
}

impl Cli {
    /// Refuses settings that would expose the records, contradict each other, or have no effect.
    ///
    /// # Errors
    ///
    /// Says what is wrong and what would be right.
    pub fn check(&self) -> Result<(), String> {
        let Settings { listen, data_dir, require_keys, allow_unauthenticated_network, .. } = &self.settings;
        let places = [
            ("--data-dir", data_dir.is_some()),
            ("--database-url", self.settings.database_url.is_some()),
            ("--database-url-file", self.settings.database_url_file.is_some()),
        ];
        let places: Vec<_> = places.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        if let [first, second, ..] = places.as_slice() {
            return Err(format!("{first} and {second} both say where the records are; give one of them"));
        }
        if matches!(self.command, Some(Command::Demo(_))) && !places.is_empty() {
            return Err("demo serves a throw-away directory; leave --data-dir and --database-url out".to_owned());
        }
        if self.settings.tls_cert.is_some() != self.settings.tls_key.is_some() {
            return Err("--tls-cert and --tls-key belong together; give both or none".to_owned());
        }
        let rates = self.settings.rates();
        if !require_keys && (rates.requests.is_some() || rates.records.is_some()) {
            return Err(
                "--requests-per-second and --records-per-second bound keys: they need --require-keys".to_owned()
            );
        }
        if *require_keys && *allow_unauthenticated_network {
            return Err("--require-keys and --allow-unauthenticated-network contradict each other".to_owned());
        }
        if !listen.ip().is_loopback() && !require_keys && !allow_unauthenticated_network {
            return Err(format!(
                "refusing to listen on {listen} without keys: whoever reaches this port could read and write the records \
                 of every workspace. Pass --require-keys, listen on loopback (127.0.0.1:{}) behind a proxy that checks \
                 its callers, or pass --allow-unauthenticated-network to do it all the same.",
                listen.port()
            ));
        }
        check_log(&self.settings.log)
    }
}

/// Refuses a misspelt level, which the log's own reader would take for the name of a module and fall silent.
fn check_log(filter: &str) -> Result<(), String> {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    match filter.split(',').find(|part| !part.contains('=') && !levels.contains(&part.trim())) {
        Some(part) => Err(format!("--log {filter}: {part:?} is no level; the levels are {}", levels.join(", "))),
        None => Ok(()),
    }
}
