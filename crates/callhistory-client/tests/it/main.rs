//! The SDK against a stub server.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod blocking;
mod errors;
mod follow;
mod handling;
mod operations;
mod options;
mod quickstart;
mod retries;
mod setup;
mod spool;
mod streams;
mod stub;
mod tls;
mod trace;

use callhistory_client::{CallInput, CallRecord, Client, ClientBuilder, model::examples};

const ID: &str = "1234567890abcdef";
const WORKSPACE: &str = "abcdef1234567890";

fn builder(url: &str) -> ClientBuilder {
    Client::builder(url).workspace(WORKSPACE)
}

fn client(url: &str) -> Client {
    builder(url).build().unwrap()
}

fn input() -> CallInput {
    examples::source_input()
}

fn record() -> CallRecord {
    examples::source_example()
}
