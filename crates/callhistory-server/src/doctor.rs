//! The sub-command `doctor`: what is well, what is doubtful, and what is broken.

use callhistory_model::Timestamp;
use callhistory_store::{Finding, KeyStore, Verdict};
use serde_json::json;

use crate::{config::Settings, keys};

/// Nothing was recorded before this: a clock that says so is wrong. In seconds since 1970, it is 2025.
const EARLIEST_SECOND: i64 = 1_735_689_600;
const NANOS: i64 = 1_000_000_000;
/// A key that ends within this time is worth a word, in nanoseconds: thirty days.
const SOON: i64 = 30 * 86_400 * NANOS;
/// File descriptors beside those of connections.
const SPARE_FILES: u64 = 256;

/// What was found about the settings, the clock and the limits of the process.
#[must_use]
pub fn surroundings(settings: &Settings, origins: &[String], connections: usize, now: &Timestamp) -> Vec<Finding> {
    let said = if origins.is_empty() { "all are the default".to_owned() } else { origins.join(", ") };
    let mut findings = vec![Finding::good("settings", said)];
    if settings.allow_unauthenticated_network {
        let detail = "whoever reaches the port reads and writes every workspace (allow_unauthenticated_network)";
        findings.push(Finding::doubtful("exposure", detail));
    } else if !settings.listen.ip().is_loopback() && settings.tls_cert.is_none() {
        findings.push(Finding::doubtful("exposure", "keys and records cross the network without TLS"));
    }
    if let Err(reason) = settings.tls() {
        findings.push(Finding::bad("tls", reason));
    }
    findings.push(if now.unix_nanos() < EARLIEST_SECOND * NANOS {
        Finding::bad("clock", format!("says {now}, which cannot be"))
    } else {
        Finding::good("clock", format!("says {now}"))
    });
    #[cfg(target_os = "linux")]
    if let Some(files) = file_limit() {
        let needed = connections as u64 + SPARE_FILES;
        let detail = format!("{files} files may be open, for {connections} connections");
        findings.push(if files < needed {
            Finding::doubtful("limits", format!("{detail}; {needed} would be enough"))
        } else {
            Finding::good("limits", detail)
        });
    }
    findings
}

#[cfg(target_os = "linux")]
fn file_limit() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// What was found about the keys.
pub async fn keys(store: &dyn KeyStore, required: bool, now: &Timestamp) -> Finding {
    let all = match store.list_keys().await {
        Ok(all) => all,
        Err(error) => return Finding::bad("keys", error.to_string()),
    };
    let active: Vec<_> = all.iter().filter(|key| keys::state(key, now) == "active").collect();
    let ends_soon = |end: &Timestamp| end.unix_nanos() - now.unix_nanos() < SOON;
    let soon: Vec<_> = active.iter().filter(|key| key.expires_at.as_ref().is_some_and(ends_soon)).collect();
    let detail = format!("{} active of {}", active.len(), all.len());
    match soon.as_slice() {
        _ if required && active.is_empty() => Finding::bad("keys", format!("{detail}; nobody can be let in")),
        _ if !required && !active.is_empty() => {
            Finding::doubtful("keys", format!("{detail}, and nobody is asked for one: require_keys is off"))
        }
        [] => Finding::good("keys", detail),
        [first, ..] => {
            Finding::doubtful("keys", format!("{detail}; {} within thirty days, first {}", soon.len(), first.id))
        }
    }
}

/// The worst that was found.
#[must_use]
pub fn worst(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Good)
}

/// The findings as lines, or as one JSON object.
#[must_use]
pub fn render(findings: &[Finding], as_json: bool) -> String {
    if as_json {
        let found: Vec<_> = findings
            .iter()
            .map(|finding| json!({ "name": finding.name, "verdict": finding.verdict.as_str(), "detail": finding.detail }))
            .collect();
        return json!({ "verdict": worst(findings).as_str(), "findings": found }).to_string();
    }
    let line = |finding: &Finding| format!("{:>8}  {:<12} {}", finding.verdict.as_str(), finding.name, finding.detail);
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}
