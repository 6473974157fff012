//! The contract: generated, checked, and compared with the released one.

pub mod cases;
pub mod comparison;
pub mod compatibility;
pub mod generate;
pub mod lint;
mod schema_compatibility;
