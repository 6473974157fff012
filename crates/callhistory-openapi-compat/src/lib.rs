//! Compares two OpenAPI documents: does the new one serve the callers of the old one?
//!
//! ```
//! use callhistory_openapi_compat::{Document, compare};
//!
//! let old = Document::parse("openapi: 3.1.0\ninfo: {title: Calls, version: 0.1.3}\npaths: {}\n")?;
//! let report = compare(&old, &old);
//! assert!(report.is_compatible());
//! assert_eq!(report.summary(), "0 breaking, 0 unknown, 0 notes; next version ≥ 0.1.3");
//! # Ok::<(), String>(())
//! ```
//!
//! A caller sends what the old document allows, reads what it promises, and may have generated code from it: names of operations,
//! tags and schemas are promises too. The rules are closed: a keyword that they do not know, and that changed or refers to something
//! that did, is an unknown finding, which counts like a breaking one. Equal parts are compatible whatever is in them.
//!
//! [`Document`] reads JSON and YAML, OpenAPI 3.1 and 3.0. [`compare`] makes a [`Report`] of [`Finding`]s, each with its
//! [`Severity`], its [`Rule`], a JSON pointer and, where the document was read from a text, a line. [`Acceptance`] is the list of
//! findings that a team accepts. The program `callhistory-openapi-compat` of this crate does the same on files.

mod comparison;
mod contract;
mod document;
mod finding;
mod operation;
mod references;
mod report;
mod schema;
mod security;
mod upgrade;
mod yaml;

pub use document::Document;
pub use finding::{Finding, Rule, Severity, Side};
pub use report::{Acceptance, Report, compare};

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
