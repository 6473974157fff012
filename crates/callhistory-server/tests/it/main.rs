//! The service through its public surface: the SDK, raw HTTP for what the SDK cannot send, and the program.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails may panic")]

mod auth;
mod binary;
mod caches;
mod calls;
mod changes;
mod clocks;
mod connections;
mod console;
mod contract;
mod cors;
mod demo;
mod encodings;
mod examples;
mod exports;
mod facts;
mod files;
mod handling;
mod harness;
mod header_vectors;
mod import_export;
mod import_formats;
mod import_limits;
mod late_facts;
mod links;
mod list;
mod log_redaction;
mod operations;
mod originals;
mod overload;
mod postgres;
#[path = "../../samples/operations.rs"]
mod samples;
mod search;
mod settings;
mod system;
mod tenancy;
mod validation;
