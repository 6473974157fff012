//! Originals: documents as they were sent, kept with the record that has less than they have, or something else.

use std::sync::OnceLock;

use bytes::Bytes;
use callhistory_model::{CallId, FieldWarning, OriginalInfo, Timestamp, WorkspaceId};
use sha2::{Digest as _, Sha256};
use twox_hash::XxHash3_64;

use super::{
    mutation::{WriteWarnings, check_size},
    record_digest::is_verifying,
};
use crate::{
    call_write::{Original, SentDocument},
    error::StoreError,
};

/// The level of the compression: a higher one takes much longer and gains little on documents of some kilobytes.
const LEVEL: i32 = 3;
/// What an original takes besides its bytes.
const OVERHEAD_BYTES: usize = 256;

/// The SHA-256 of a document, and of the record that it belongs to.
pub(crate) type ContentHash = [u8; 32];

/// A document that may be kept, prepared on the thread of its caller.
#[derive(Clone, Debug)]
pub(crate) struct PreparedDocument {
    owner: (WorkspaceId, CallId),
    sent: SentDocument,
    /// Of a document that is kept in any case, or once it is asked for: most documents are not kept.
    hash: OnceLock<ContentHash>,
    /// The compressed bytes of a document that is kept in any case.
    body: Option<Bytes>,
}

/// What a record has of originals already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OriginalTotals {
    /// The number of the last one.
    pub(crate) last_number: i64,
    /// The size of all of them.
    pub(crate) bytes: i64,
}

/// The row of an original.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OriginalRow {
    pub(crate) number: i64,
    pub(crate) received_at: i64,
    pub(crate) source: String,
    pub(crate) media_type: String,
    /// The warnings as JSON.
    pub(crate) warnings: String,
    /// The size of the document.
    pub(crate) bytes: i64,
    /// The size of the originals of the record up to this one.
    pub(crate) total_bytes: i64,
    pub(crate) hash: ContentHash,
    /// The compressed document; empty if it was not read.
    pub(crate) body: Bytes,
}

fn content_hash(workspace: &str, id: &str, document: &[u8]) -> ContentHash {
    Sha256::new_with_prefix(workspace)
        .chain_update([0])
        .chain_update(id)
        .chain_update([0])
        .chain_update(document)
        .finalize()
        .into()
}

fn compressed(document: &[u8]) -> Result<Bytes, StoreError> {
    let body = zstd::bulk::compress(document, LEVEL);
    Ok(body.map_err(|error| StoreError::Internal(format!("a document cannot be compressed: {error}")))?.into())
}

impl PreparedDocument {
    pub(crate) fn prepare(sent: SentDocument, workspace: &WorkspaceId, id: &CallId) -> Result<Self, StoreError> {
        let body = if sent.is_changed { Some(compressed(&sent.body)?) } else { None };
        let prepared = Self { owner: (workspace.clone(), id.clone()), sent, hash: OnceLock::new(), body };
        if prepared.sent.is_changed {
            prepared.hash();
        }
        Ok(prepared)
    }

    pub(crate) fn hash(&self) -> &ContentHash {
        let (workspace, id) = &self.owner;
        self.hash.get_or_init(|| content_hash(workspace.as_str(), id.as_str(), &self.sent.body))
    }

    /// Whether the document is kept after a write with these warnings of its own.
    pub(crate) fn is_kept(&self, warnings: &WriteWarnings) -> bool {
        self.sent.is_changed || warnings.is_lossy
    }

    /// The row of the document, after the originals that the record has, if that does not exceed the maximum size of a record.
    pub(crate) fn row(
        &self,
        warnings: &WriteWarnings,
        totals: OriginalTotals,
        received_at: &Timestamp,
        (record_bytes, max_bytes): (usize, usize),
    ) -> Result<OriginalRow, StoreError> {
        let body = self.body.clone().map_or_else(|| compressed(&self.sent.body), Ok)?;
        let all: Vec<_> = self.sent.warnings.iter().chain(&warnings.list).take(FieldWarning::MAX).collect();
        let warnings = serde_json::to_string(&all).map_err(|error| StoreError::Internal(error.to_string()))?;
        let own = body.len() + warnings.len() + OVERHEAD_BYTES;
        let total = usize::try_from(totals.bytes).unwrap_or(usize::MAX).saturating_add(own);
        check_size(record_bytes, total, max_bytes)?;
        Ok(OriginalRow {
            number: totals.last_number + 1,
            received_at: received_at.unix_nanos(),
            source: self.sent.source.clone(),
            media_type: self.sent.media_type.clone(),
            warnings,
            bytes: i64::try_from(self.sent.body.len()).unwrap_or(i64::MAX),
            total_bytes: i64::try_from(total).unwrap_or(i64::MAX),
            hash: *self.hash(),
            body,
        })
    }
}

impl OriginalRow {
    /// What the record has of originals after this one.
    #[cfg(any(test, feature = "postgres"))]
    pub(crate) fn totals(&self) -> OriginalTotals {
        OriginalTotals { last_number: self.number, bytes: self.total_bytes }
    }

    /// The digest of all columns but the body, which the hash covers.
    pub(crate) fn digest(&self, workspace: &str, id: &str) -> i64 {
        let Self { number, received_at, source, media_type, warnings, bytes, total_bytes, hash, .. } = self;
        let text = format!(
            "{workspace} {id} {number} {received_at} {bytes} {total_bytes} {hash:?} {source:?} {media_type:?} {warnings}"
        );
        XxHash3_64::oneshot(text.as_bytes()).cast_signed()
    }

    /// What is known of the original, verified.
    pub(crate) fn info(&self, (workspace, id): (&str, &str), digest: i64) -> Result<OriginalInfo, StoreError> {
        if self.digest(workspace, id) != digest && is_verifying() {
            return Err(damaged());
        }
        Ok(OriginalInfo {
            number: u32::try_from(self.number).unwrap_or(u32::MAX),
            received_at: Timestamp::from_unix_nanos(self.received_at),
            source: self.source.clone(),
            media_type: self.media_type.clone(),
            bytes: self.bytes.unsigned_abs(),
            warnings: serde_json::from_str(&self.warnings).map_err(|_| damaged())?,
            extra: Vec::new(),
        })
    }

    /// The original with its bytes, verified.
    pub(crate) fn original(&self, (workspace, id): (&str, &str), digest: i64) -> Result<Original, StoreError> {
        let info = self.info((workspace, id), digest)?;
        let size = usize::try_from(info.bytes).map_err(|_| damaged())?;
        let body = zstd::bulk::decompress(&self.body, size).map_err(|_| damaged())?;
        if content_hash(workspace, id, &body) != self.hash && is_verifying() {
            return Err(damaged());
        }
        Ok(Original { info, body: body.into() })
    }
}

fn damaged() -> StoreError {
    metrics::counter!("callhistory_damage_total", "where" => "original").increment(1);
    StoreError::Damaged("an original does not match its digest".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(document: &'static [u8]) -> OriginalRow {
        let sent = SentDocument {
            body: Bytes::from_static(document),
            media_type: "application/json".to_owned(),
            source: "api".to_owned(),
            warnings: Vec::new(),
            is_changed: true,
        };
        let prepared = PreparedDocument::prepare(sent, &"w".parse().unwrap(), &"a".parse().unwrap()).unwrap();
        prepared
            .row(&WriteWarnings::default(), OriginalTotals::default(), &Timestamp::from_unix_nanos(1), (10, 10_000))
            .unwrap()
    }

    /// Every byte of a row is verified, and the record that it belongs to.
    #[test]
    fn a_changed_row_is_damaged() {
        let row = row(b"{ \"a\" : 1 }");
        let digest = row.digest("w", "a");
        assert_eq!(&row.original(("w", "a"), digest).unwrap().body[..], b"{ \"a\" : 1 }");
        assert!(row.original(("w", "b"), row.digest("w", "b")).is_err());
        for change in [
            |row: &mut OriginalRow| row.number += 1,
            |row: &mut OriginalRow| row.media_type.push('x'),
            |row: &mut OriginalRow| row.bytes += 1,
            |row: &mut OriginalRow| row.hash[31] ^= 1,
        ] {
            let mut changed = row.clone();
            change(&mut changed);
            assert!(changed.info(("w", "a"), digest).is_err());
        }
        let mut other = row.clone();
        other.body = self::row(b"{ \"a\" : 2 }").body;
        assert!(other.original(("w", "a"), digest).is_err());
    }

    /// The compressed bytes of all originals count, and not those of the documents.
    #[test]
    fn originals_count_for_the_size_of_a_record() {
        static LONG: [u8; 1_000_000] = [b' '; 1_000_000];
        let row = row(&LONG);
        assert!(row.total_bytes < 1_000, "{}", row.total_bytes);
        assert_eq!(row.totals(), OriginalTotals { last_number: 1, bytes: row.total_bytes });
    }
}
