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

/// A clock before 2025 is wrong. In seconds since 1970.
const EARLIEST_SECOND: i64 = 1_735_689_600;
const NANOS: i64 = 1_000_000_000;
/// A key that expires within thirty days gets a warning. In nanoseconds.
const EXPIRES_SOON: i64 = 30 * 86_400 * NANOS;

/// Prints the diagnostics; the exit code is 0, 1 or 2 by the worst of them.
pub(super) fn run(sources: &SettingSources, full: bool, json: bool, now: &Timestamp) -> Result<ExitCode, CommandError> {
    let settings = &sources.cli.settings;
    let url = settings.database_url()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut diagnostics = environment(settings, &sources.changed(), now);
    diagnostics.extend(runtime.block_on(async {
        let mut found = callhistory_store::diagnose(&url, full).await;
        // Opening the keys of a database that does not exist would create it.
        let is_missing =
            |found: &Diagnostic| matches!(found.name, "database" | "schema") && found.severity != Severity::Ok;
        if !found.iter().any(is_missing)
            && let Ok(store) = callhistory_store::open_api_keys(&url).await
        {
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

/// Checks the settings, the clock and the limits of the process.
fn environment(settings: &Settings, changed: &[String], now: &Timestamp) -> Vec<Diagnostic> {
    let changed = if changed.is_empty() { "all are the default".to_owned() } else { changed.join(", ") };
    let mut diagnostics = vec![Diagnostic::ok("settings", changed)];
    if settings.allow_unauthenticated_network {
        let detail = "anyone who reaches the port can read and write every workspace (allow_unauthenticated_network)";
        diagnostics.push(Diagnostic::warning("exposure", detail));
    } else if !settings.listen.ip().is_loopback() && settings.tls_cert.is_none() {
        diagnostics.push(Diagnostic::warning("exposure", "keys and records cross the network without TLS"));
    }
    if let Err(reason) = settings.tls() {
        diagnostics.push(Diagnostic::error("tls", reason));
    }
    diagnostics.push(if now.unix_nanos() < EARLIEST_SECOND * NANOS {
        Diagnostic::error("clock", format!("says {now}, which is wrong"))
    } else {
        Diagnostic::ok("clock", format!("says {now}"))
    });
    let (wanted, (fitting, files)) = (Limits::default().connections, Limits::for_open_files());
    if let Some(files) = files {
        let detail = format!("{files} files may be open, for {} connections", fitting.connections);
        diagnostics.push(if fitting.connections < wanted {
            Diagnostic::warning("limits", format!("{detail} instead of {wanted}"))
        } else {
            Diagnostic::ok("limits", detail)
        });
    }
    diagnostics
}

/// Checks the keys.
async fn api_keys(store: &dyn ApiKeyStore, required: bool, now: &Timestamp) -> Diagnostic {
    let all = match store.list_keys().await {
        Ok(all) => all,
        Err(error) => return Diagnostic::error("keys", error.to_string()),
    };
    let active: Vec<_> = all.iter().filter(|key| keys::state(key, now) == "active").collect();
    let expires_soon = |end: &Timestamp| end.unix_nanos() - now.unix_nanos() < EXPIRES_SOON;
    let soon: Vec<_> = active.iter().filter(|key| key.expires_at.as_ref().is_some_and(expires_soon)).collect();
    let detail = format!("{} active of {}", active.len(), all.len());
    match soon.as_slice() {
        _ if required && active.is_empty() => {
            Diagnostic::error("keys", format!("{detail}; no caller can be authorized"))
        }
        _ if !required && !active.is_empty() => {
            Diagnostic::warning("keys", format!("{detail}, but keys are not required: require_keys is off"))
        }
        [] => Diagnostic::ok("keys", detail),
        [first, ..] => Diagnostic::warning(
            "keys",
            format!("{detail}; {} expire within thirty days, the first is {}", soon.len(), first.id),
        ),
    }
}

/// The highest severity.
fn worst(diagnostics: &[Diagnostic]) -> Severity {
    diagnostics.iter().map(|diagnostic| diagnostic.severity).max().unwrap_or(Severity::Ok)
}

/// The diagnostics, one on each line, or as one JSON object.
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
