//! The digest that is stored with each record and verified whenever its bytes are read.

use twox_hash::XxHash3_64;

use crate::error::StoreError;

/// Whether checksums are verified. Only the test of damage turns this off, to prove that it would find wrong results.
#[cfg(test)]
pub(crate) static IS_VERIFYING: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(true);

pub(crate) fn is_verifying() -> bool {
    #[cfg(test)]
    return IS_VERIFYING.load(std::sync::atomic::Ordering::Relaxed);
    #[cfg(not(test))]
    true
}

/// The digest of a record: of its bytes, and of the workspace and the ID that they belong to.
pub(crate) fn record_digest(workspace: &str, id: &str, body: &[u8]) -> i64 {
    // No ID contains a blank. The longest names fit without an allocation on the heap of the list that reads many.
    let mut identity = [0_u8; 2 * 128 + 1 + 8];
    let parts = [&XxHash3_64::oneshot(body).to_le_bytes()[..], workspace.as_bytes(), b" ", id.as_bytes()];
    let mut length = 0;
    for part in parts {
        let end = (length + part.len()).min(identity.len());
        identity[length..end].copy_from_slice(&part[..end - length]);
        length = end;
    }
    XxHash3_64::oneshot(&identity[..length]).cast_signed()
}

/// Verifies the bytes of a record before they are used.
pub(crate) fn verify_record(workspace: &str, id: &str, body: &[u8], digest: i64) -> Result<(), StoreError> {
    if record_digest(workspace, id, body) == digest || !is_verifying() {
        return Ok(());
    }
    metrics::counter!("callhistory_damage_total", "where" => "record").increment(1);
    Err(StoreError::Damaged("a record does not match its digest".to_owned()))
}
