//! The files of the console, as the crate embeds them and as they are in the repository.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails may panic")]

mod files;
mod outcomes;
mod strings;
mod vendor;
