//! The settings of a server.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use callhistory_store::{DatabaseUrl, NumberingPlan, StoreError};
use clap::Args;

use crate::{
    auth::rate_limit::Rates,
    console::recording_hosts::RecordingHosts,
    http::{allowed_hosts::AllowedHosts, cors::CorsOrigins, public_url::PublicUrl, tls::Tls},
};

/// A country, or none.
fn numbering_plan(text: &str) -> Result<NumberingPlan, String> {
    match text {
        "none" => Ok(NumberingPlan::default()),
        country => country.parse().map_err(|error: callhistory_model::FieldError| error.detail),
    }
}

/// The settings of a server.
#[derive(Debug, Args)]
pub struct Settings {
    /// A file of settings, such as `config example` prints; variables and flags override it
    #[arg(long, global = true, env = "CALLHISTORY_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to listen, as ADDRESS:PORT; port 0 picks a free one
    #[arg(long, global = true, env = "CALLHISTORY_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDR:PORT")]
    pub listen: SocketAddr,
    /// Where to serve /metrics, /healthz and /readyz for operators, as ADDRESS:PORT; it needs no key
    #[arg(long, global = true, env = "CALLHISTORY_OPERATIONS_LISTEN", value_name = "ADDR:PORT")]
    pub operations_listen: Option<SocketAddr>,
    /// Directory of the embedded database; created if it does not exist [default: callhistory-data]
    #[arg(long, global = true, env = "CALLHISTORY_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Database to use instead of the data directory: sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE
    #[arg(long, global = true, env = "CALLHISTORY_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// A file that holds the database URL, for one with a password
    #[arg(long, global = true, env = "CALLHISTORY_DATABASE_URL_FILE", value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,
    /// Largest size of a record and its originals in bytes, from 65536 (64 KiB) to 67108864 (64 MiB)
    #[arg(long, global = true, env = "CALLHISTORY_MAX_RECORD_BYTES", default_value = "16777216", value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(65_536..=67_108_864))]
    pub max_record_bytes: u32,
    /// Country whose national phone numbers filters understand, such as DE, or none [default: as the database was last served]
    #[arg(long, global = true, env = "CALLHISTORY_DEFAULT_COUNTRY", value_name = "CODE", value_parser = numbering_plan)]
    pub default_country: Option<NumberingPlan>,
    /// Require an API key of every caller, made by `keys create`; without it, x-workspace-id is trusted
    #[arg(long, global = true, env = "CALLHISTORY_REQUIRE_KEYS")]
    pub require_keys: bool,
    /// Requests that each key may send in a second; unlimited by default
    #[arg(long, global = true, env = "CALLHISTORY_REQUESTS_PER_SECOND", value_name = "NUMBER")]
    pub requests_per_second: Option<NonZeroU32>,
    /// Records that each key may read in a second, in bursts of at least the 1,000 of a page; unlimited by default
    #[arg(long, global = true, env = "CALLHISTORY_RECORDS_PER_SECOND", value_name = "NUMBER")]
    pub records_per_second: Option<NonZeroU32>,
    /// The certificate chain of the server, in PEM; reloaded when it changes
    #[arg(long, global = true, env = "CALLHISTORY_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM
    #[arg(long, global = true, env = "CALLHISTORY_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Listen beyond loopback without keys: anyone who reaches the port can read and write every workspace
    #[arg(long, global = true, env = "CALLHISTORY_ALLOW_UNAUTHENTICATED_NETWORK")]
    pub allow_unauthenticated_network: bool,
    /// Host names, separated by commas, that a server without keys answers to besides localhost and IP addresses
    #[arg(long, global = true, env = "CALLHISTORY_ALLOWED_HOSTS", value_name = "NAMES")]
    pub allowed_hosts: Option<AllowedHosts>,
    /// Origins of web pages, separated by commas, that may use the API in a browser: SCHEME://HOST or SCHEME://HOST:PORT; none by default
    #[arg(long, global = true, env = "CALLHISTORY_CORS_ORIGINS", value_name = "ORIGINS")]
    pub cors_origins: Option<CorsOrigins>,
    /// URL under which callers reach this server, with the path prefix of a proxy; links are absolute with it, and relative without
    #[arg(long, global = true, env = "CALLHISTORY_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<PublicUrl>,
    /// Serve /console, a page that shows the calls to whoever the API shows them: true or false
    #[arg(long, global = true, env = "CALLHISTORY_CONSOLE", default_value = "true", value_name = "BOOL",
        action = clap::ArgAction::Set)]
    pub console: bool,
    /// Hosts, separated by commas, whose recordings the console plays, such as *.example.com; it links to all others
    #[arg(long, global = true, env = "CALLHISTORY_RECORDING_HOSTS", value_name = "HOSTS")]
    pub recording_hosts: Option<RecordingHosts>,
    /// Log filter: a level (off, error, warn, info, debug, trace), or a list such as warn,callhistory_server=debug
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

    /// Largest size of a record, in bytes.
    #[must_use]
    pub fn max_record_bytes(&self) -> usize {
        usize::try_from(self.max_record_bytes).unwrap_or(usize::MAX)
    }

    /// The rate limits of each key.
    #[must_use]
    pub fn rates(&self) -> Rates {
        Rates { requests: self.requests_per_second, records: self.records_per_second }
    }

    /// The database to open.
    ///
    /// # Errors
    ///
    /// An unreadable file, or an invalid URL.
    pub fn database_url(&self) -> Result<DatabaseUrl, String> {
        if let Some(path) = &self.database_url_file {
            let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            return text.trim().parse().map_err(|error: StoreError| error.to_string());
        }
        match &self.database_url {
            Some(url) => url.parse().map_err(|error: StoreError| error.to_string()),
            None => {
                let directory = self.data_dir.as_deref().unwrap_or(Path::new("callhistory-data"));
                Ok(DatabaseUrl::Sqlite(directory.join("callhistory.db")))
            }
        }
    }
}
