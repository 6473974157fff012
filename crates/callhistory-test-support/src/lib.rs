//! Shared by tests and measurements: a temporary PostgreSQL cluster, and generated call histories.

#[cfg(feature = "contract-cases")]
pub mod contract_cases;
#[cfg(feature = "harness")]
pub mod history;
#[cfg(feature = "harness")]
pub mod postgres;
pub mod programs;

/// How long a test waits for an event. Only a fault reaches this time, however busy the machine is.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// The loop count of a test: the value of this environment variable, or the default.
///
/// # Errors
///
/// Fails where the value is not a number.
pub fn loop_count(variable: &str, default: usize) -> Result<usize, String> {
    let parse = |text: String| text.parse().map_err(|error| format!("{variable}={text}: {error}"));
    setting(variable).map_or(Ok(default), parse)
}

/// The value of an environment variable, for settings of tests.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a test harness takes its settings from the environment")]
pub fn setting(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}
