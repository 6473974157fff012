//! The project's own checks and generators.

pub mod bench;
pub mod breaking;
pub mod cases;
pub mod contract;
pub mod openapi;
pub mod postgres;
mod schemas;
pub mod sound;
pub mod tidy;

use std::path::Path;

/// The root of the repository.
#[must_use]
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}
