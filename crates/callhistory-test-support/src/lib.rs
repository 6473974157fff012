//! What tests and measurements share: a temporary PostgreSQL cluster, and generated call histories.

#[cfg(feature = "harness")]
pub mod history;
#[cfg(feature = "harness")]
pub mod postgres;
pub mod programs;

/// How often a test repeats something: the value of this environment variable, or else the default.
///
/// # Errors
///
/// Fails where the value is not a number.
#[expect(clippy::disallowed_methods, reason = "a test harness takes its settings from the environment")]
pub fn loop_count(variable: &str, default: usize) -> Result<usize, String> {
    match std::env::var(variable) {
        Ok(text) => text.parse().map_err(|error| format!("{variable}={text}: {error}")),
        Err(_) => Ok(default),
    }
}
