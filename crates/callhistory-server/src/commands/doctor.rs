//! The sub-command `doctor`: checks of the settings, the machine, the database and the keys.

use std::process::ExitCode;

use callhistory_model::Timestamp;
use callhistory_store::{ApiKeyStore, Diagnostic, Severity};
use serde_json::json;

use super::{CommandError, keys, print};
use crate::{
    config::{settings::Settings, sources::SettingSources},
    http::limits::Limits,
};

/// Nothing was recorded before this: a clock that says so is wrong. In seconds since 1970, it is 2025.
const EARLIEST_SECOND: i64 = 1_735_689_600;
const NANOS: i64 = 1_000_000_000;
/// A key that ends within this time is worth a word, in nanoseconds: thirty days.
const SOON: i64 = 30 * 86_400 * NANOS;
/// File descriptors beside those of connections.
const SPARE_FILES: u64 = 256;

/// Prints the diagnostics; the exit code is 0, 1 or 2 by the worst of them.
pub(super) fn run(sources: &SettingSources, full: bool, json: bool, now: &Timestamp) -> Result<ExitCode, CommandError> {
    let settings = &sources.cli.settings;
    let url = settings.database_url()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let connections = Limits::default().connections;
    let mut diagnostics = surroundings(settings, &sources.changed(), connections, now);
    diagnostics.extend(runtime.block_on(async {
        let mut found = callhistory_store::diagnose(&url, full).await;
        // Where the database is broken or does not exist, so are the keys; to open them would create it.
        let exists = !found
            .iter()
            .any(|diagnostic| matches!(diagnostic.name, "database" | "schema") && diagnostic.severity != Severity::Ok);
        if exists && let Ok(store) = callhistory_store::open_api_keys(&url).await {
            found.push(api_keys(&*store, settings.require_keys, now).await);
        }
        found
    }));
    print(&render(&diagnostics, json));
    Ok(match worst(&diagnostics) {
        Severity::Ok => ExitCode::SUCCESS,
        Severity::Warning => ExitCode::from(1),
        Severity::Error => ExitCode::from(2),
    })
}

/// What was found about the settings, the clock and the limits of the process.
fn surroundings(settings: &Settings, origins: &[String], connections: usize, now: &Timestamp) -> Vec<Diagnostic> {
    let said = if origins.is_empty() { "all are the default".to_owned() } else { origins.join(", ") };
    let mut diagnostics = vec![Diagnostic::ok("settings", said)];
    if settings.allow_unauthenticated_network {
        let detail = "whoever reaches the port reads and writes every workspace (allow_unauthenticated_network)";
        diagnostics.push(Diagnostic::warning("exposure", detail));
    } else if !settings.listen.ip().is_loopback() && settings.tls_cert.is_none() {
        diagnostics.push(Diagnostic::warning("exposure", "keys and records cross the network without TLS"));
    }
    if let Err(reason) = settings.tls() {
        diagnostics.push(Diagnostic::error("tls", reason));
    }
    diagnostics.push(if now.unix_nanos() < EARLIEST_SECOND * NANOS {
        Diagnostic::error("clock", format!("says {now}, which cannot be"))
    } else {
        Diagnostic::ok("clock", format!("says {now}"))
    });
    #[cfg(unix)]
    if let Some(files) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        let needed = connections as u64 + SPARE_FILES;
        let detail = format!("{files} files may be open, for {connections} connections");
        diagnostics.push(if files < needed {
            Diagnostic::warning("limits", format!("{detail}; {needed} would be enough"))
        } else {
            Diagnostic::ok("limits", detail)
        });
    }
    diagnostics
}

/// What was found about the keys.
async fn api_keys(store: &dyn ApiKeyStore, required: bool, now: &Timestamp) -> Diagnostic {
    let all = match store.list_keys().await {
        Ok(all) => all,
        Err(error) => return Diagnostic::error("keys", error.to_string()),
    };
    let active: Vec<_> = all.iter().filter(|key| keys::state(key, now) == "active").collect();
    let ends_soon = |end: &Timestamp| end.unix_nanos() - now.unix_nanos() < SOON;
    let soon: Vec<_> = active.iter().filter(|key| key.expires_at.as_ref().is_some_and(ends_soon)).collect();
    let detail = format!("{} active of {}", active.len(), all.len());
    match soon.as_slice() {
        _ if required && active.is_empty() => Diagnostic::error("keys", format!("{detail}; nobody can be let in")),
        _ if !required && !active.is_empty() => {
            Diagnostic::warning("keys", format!("{detail}, and nobody is asked for one: require_keys is off"))
        }
        [] => Diagnostic::ok("keys", detail),
        [first, ..] => {
            Diagnostic::warning("keys", format!("{detail}; {} within thirty days, first {}", soon.len(), first.id))
        }
    }
}

/// The worst that was found.
fn worst(diagnostics: &[Diagnostic]) -> Severity {
    diagnostics.iter().map(|diagnostic| diagnostic.severity).max().unwrap_or(Severity::Ok)
}

/// The diagnostics as lines, or as one JSON object.
fn render(diagnostics: &[Diagnostic], as_json: bool) -> String {
    if as_json {
        let found: Vec<_> = diagnostics
            .iter()
            .map(|diagnostic| json!({ "name": diagnostic.name, "severity": diagnostic.severity.as_str(), "detail": diagnostic.detail }))
            .collect();
        return json!({ "severity": worst(diagnostics).as_str(), "diagnostics": found }).to_string();
    }
    let line = |diagnostic: &Diagnostic| {
        format!("{:>8}  {:<12} {}", diagnostic.severity.as_str(), diagnostic.name, diagnostic.detail)
    };
    diagnostics.iter().map(line).collect::<Vec<_>>().join("\n")
}
