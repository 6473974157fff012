//! A write in the spool, and its line: a checksum and JSON.

use std::fmt::Write as _;

use callhistory_model::{Handling, JsonText, Problem, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::version::Version;

/// Hexadecimal digits of the checksum of a line.
const CHECKSUM_DIGITS: usize = 16;

/// The operation of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum SpooledOperation {
    /// Creates a record with an ID that the spool generates.
    Create,
    /// Creates or replaces a record.
    Replace,
    /// Changes a record in part.
    Update,
    /// Changes a record in part, or creates it.
    Upsert,
    /// Deletes a record.
    Delete,
}

/// The condition of a write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Condition {
    IfAbsent,
    IfVersion(Version),
}

/// What a writer adds to each of its writes.
#[derive(Clone, Debug, Default)]
pub(super) struct WriteOptions {
    pub(super) condition: Option<Condition>,
    pub(super) handling: Option<Handling>,
}

/// A write that waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    /// Zero until it is in the file.
    pub(super) sequence: u64,
    pub(super) at: Timestamp,
    pub(super) operation: SpooledOperation,
    #[serde(rename = "_id")]
    pub(super) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) condition: Option<Condition>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_lenient: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_strict: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) body: Option<JsonText>,
}

impl Entry {
    pub(super) fn handling(&self) -> Option<Handling> {
        match (self.is_lenient, self.is_strict) {
            (true, _) => Some(Handling::Lenient),
            (_, true) => Some(Handling::Strict),
            _ => None,
        }
    }
}

/// A write that the service has refused for good: a line of `rejected.ndjson`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RejectedWrite {
    /// The number of the write in its spool, in the order in which they were taken.
    pub sequence: u64,
    /// When the program wrote.
    pub at: Timestamp,
    /// When the service refused.
    pub rejected_at: Timestamp,
    /// The operation.
    pub operation: SpooledOperation,
    /// The ID of the record.
    #[serde(rename = "_id")]
    pub id: String,
    /// The record or the patch as JSON text; absent for a deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<JsonText>,
    /// The error in one line.
    pub error: String,
    /// The HTTP status of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The problem document of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// The line of a JSON text. A line break in it can only be white space between tokens.
pub(super) fn line(json: &str) -> Vec<u8> {
    let json = json.replace(['\n', '\r'], " ");
    format!("{} {json}\n", checksum(&json)).into_bytes()
}

/// The JSON text of a line without its line break; `None` if it is damaged.
pub(super) fn json_of(line: &[u8]) -> Option<&str> {
    let (sum, json) = std::str::from_utf8(line).ok()?.split_at_checked(CHECKSUM_DIGITS)?;
    json.strip_prefix(' ').filter(|json| checksum(json) == sum)
}

fn checksum(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(CHECKSUM_DIGITS / 2).fold(String::with_capacity(CHECKSUM_DIGITS), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
