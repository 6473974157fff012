//! The digests that are stored with each record and verified whenever its bytes are read.

use twox_hash::XxHash3_64;

use crate::{error::StoreError, record_bytes::RecordBytes};

/// Whether checksums are verified. Only the test of damage turns this off, to prove that it would find wrong results.
#[cfg(test)]
pub(crate) static IS_VERIFYING: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);

/// The longest names of a workspace and of a record, in bytes.
const MAX_NAMES: usize = 128 + 256;

pub(crate) fn is_verifying() -> bool {
    #[cfg(test)]
    return IS_VERIFYING.load(std::sync::atomic::Ordering::Relaxed);
    #[cfg(not(test))]
    true
}

/// The digests of a record. That of the record covers that of its transcript: a list verifies a record without reading the
/// transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordDigest {
    /// Of the body, of the digest of the transcript, and of the workspace and the ID that they belong to.
    pub(crate) record: i64,
    /// Of the transcript, if there is one.
    pub(crate) transcript: Option<i64>,
}

impl RecordDigest {
    pub(crate) fn of(workspace: &str, id: &str, bytes: RecordBytes<'_>) -> Self {
        let transcript = bytes.transcript.map(transcript_digest);
        Self { record: body_digest(workspace, id, bytes.body, transcript), transcript }
    }

    /// Verifies the bytes of a record before they are used.
    pub(crate) fn verify(self, workspace: &str, id: &str, bytes: RecordBytes<'_>) -> Result<(), StoreError> {
        self.verify_body(workspace, id, bytes.body)?;
        self.verify_transcript(bytes.transcript)
    }

    /// Verifies the body of a record whose transcript is not read.
    pub(crate) fn verify_body(self, workspace: &str, id: &str, body: &[u8]) -> Result<(), StoreError> {
        check(body_digest(workspace, id, body, self.transcript) == self.record)
    }

    /// Verifies the transcript of a record whose body was verified.
    pub(crate) fn verify_transcript(self, transcript: Option<&[u8]>) -> Result<(), StoreError> {
        check(transcript.map(transcript_digest) == self.transcript)
    }
}

fn transcript_digest(transcript: &[u8]) -> i64 {
    XxHash3_64::oneshot(transcript).cast_signed()
}

fn body_digest(workspace: &str, id: &str, body: &[u8], transcript: Option<i64>) -> i64 {
    // No ID contains a blank. The longest names fit without an allocation on the heap of the list that reads many.
    let mut identity = [0_u8; 8 + 1 + 8 + MAX_NAMES + 1];
    let parts = [
        &XxHash3_64::oneshot(body).to_le_bytes()[..],
        &[u8::from(transcript.is_some())],
        &transcript.unwrap_or(0).to_le_bytes(),
        workspace.as_bytes(),
        b" ",
        id.as_bytes(),
    ];
    let mut length = 0;
    for part in parts {
        let end = (length + part.len()).min(identity.len());
        identity[length..end].copy_from_slice(&part[..end - length]);
        length = end;
    }
    XxHash3_64::oneshot(&identity[..length]).cast_signed()
}

/// Counts and reports a record that does not match its digest.
fn check(is_sound: bool) -> Result<(), StoreError> {
    if is_sound || !is_verifying() {
        return Ok(());
    }
    metrics::counter!("callhistory_damage_total", "where" => "record").increment(1);
    Err(StoreError::Damaged("a record does not match its digest".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last byte of the longest names counts.
    #[test]
    fn names_of_every_length_are_covered() {
        let (workspace, id) = ("w".repeat(128), "i".repeat(255));
        let of = |id: &str| RecordDigest::of(&workspace, id, RecordBytes::without_transcript(b"{}"));
        assert_ne!(of(&format!("{id}a")), of(&format!("{id}b")));
    }

    /// An absent transcript, an empty one and one that is part of the body differ.
    #[test]
    fn the_transcript_is_covered() {
        let digest = |body: &[u8], transcript| RecordDigest::of("w", "a", RecordBytes { body, transcript });
        let of = |transcript| digest(b"{}", transcript);
        let every = [of(None), of(Some(b"[]")), of(Some(b"")), of(Some(b"[1]")), digest(b"{[]}", None)];
        for (at, one) in every.iter().enumerate() {
            assert!(every[at + 1..].iter().all(|other| other.record != one.record), "{at}");
        }
        let stored = of(Some(b"[]"));
        assert!(stored.verify_body("w", "a", b"{}").is_ok());
        assert!(stored.verify("w", "a", RecordBytes::without_transcript(b"{}")).is_err());
    }
}
