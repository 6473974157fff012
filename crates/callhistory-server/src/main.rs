//! The server binary. Time, randomness and the environment enter here and are handed on.

use std::{
    process::ExitCode,
    sync::OnceLock,
    time::{Duration, Instant},
};

use callhistory_server::{
    auth::token::Token,
    commands::{self, Environment},
    config::sources::{ConfigError, SettingSources},
};
use chrono::{DateTime, Utc};

fn main() -> ExitCode {
    let variables: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
    let environment = Environment { now, random, monotonic, secret };
    let result = match SettingSources::load(std::env::args_os(), &variables) {
        Ok(sources) => commands::run(&sources, environment),
        Err(ConfigError::Flags(error)) => error.exit(),
        Err(ConfigError::Settings(reason)) => Err(reason.into()),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("callhistory-server: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one clock of the program")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Time since the first call.
fn monotonic() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// The random bytes of a key. Without entropy there is no key.
#[expect(clippy::disallowed_methods, reason = "the one source of secrets of the program")]
fn secret() -> Result<[u8; Token::RANDOM_BYTES], String> {
    let mut bytes = [0; Token::RANDOM_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| format!("the system gives no random bytes: {error}"))?;
    Ok(bytes)
}

#[expect(clippy::disallowed_methods, reason = "the one source of randomness of the program")]
fn random() -> u64 {
    // IDs need not be secret, so a lack of entropy right after boot is no reason to stop.
    getrandom::u64().unwrap_or_else(|_| fastrand::u64(..))
}
