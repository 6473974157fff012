//! The settings: each is a flag and a `CALLHISTORY_*` variable, declared once.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

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
    /// Serve a throw-away history of a few thousand calls over the last thirty days
    Demo(DemoSettings),
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
    /// Where to listen, as ADDRESS:PORT; port 0 takes a free one
    #[arg(long, global = true, env = "CALLHISTORY_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDR:PORT")]
    pub listen: SocketAddr,
    /// Where the embedded database lives; created where it does not exist
    #[arg(long, global = true, env = "CALLHISTORY_DATA_DIR", default_value = "callhistory-data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Which database to use instead of the data directory: sqlite:PATH
    #[arg(long, global = true, env = "CALLHISTORY_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Listen beyond loopback although there are no keys: whoever reaches the port reads and writes every workspace
    #[arg(long, global = true, env = "CALLHISTORY_ALLOW_UNAUTHENTICATED_NETWORK")]
    pub allow_unauthenticated_network: bool,
    /// What to log: a level, or a list such as warn,callhistory_server=debug
    #[arg(long, global = true, env = "CALLHISTORY_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
}

impl Settings {
    /// The database to open.
    #[must_use]
    pub fn database_url(&self) -> String {
        let embedded = || format!("sqlite:{}", self.data_dir.join("callhistory.db").display());
        self.database_url.clone().unwrap_or_else(embedded)
    }

    /// Refuses settings that would expose the records or contradict each other.
    ///
    /// # Errors
    ///
    /// Says what is wrong and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if !self.listen.ip().is_loopback() && !self.allow_unauthenticated_network {
            return Err(format!(
                "refusing to listen on {}: there are no keys, so whoever reaches this port could read and write the \
                 records of every workspace. Listen on loopback (127.0.0.1:{}) behind a proxy that checks its callers, \
                 or pass --allow-unauthenticated-network to do it all the same.",
                self.listen,
                self.listen.port()
            ));
        }
        Ok(())
    }
}
