//! The rules on small documents, on a real contract, and the program.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod contract;
mod program;
mod shapes;
