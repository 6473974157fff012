//! The contract: generated, checked, and compared with the released one.

pub mod generate;
pub mod lint;
mod samples;
