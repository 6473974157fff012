//! The transactions of a batch of an import. Short lines can change large records, so neither the memory of a batch nor the time
//! for which it locks its workspace follows from what was sent.

use std::{
    collections::{HashMap, HashSet},
    vec,
};

use callhistory_model::{CallId, FieldError, FieldErrorCode};

use crate::{
    call_write::{CallWrite, ImportBatch, ImportOptions},
    error::StoreError,
};

/// The size of what one transaction of an import reads and writes, in bytes: the records as they are stored and as they are sent.
const MAX_PART_BYTES: usize = 32 * 1024 * 1024;

/// Records to import, in their order.
type Calls = Vec<(CallId, CallWrite)>;

/// A batch of an import in parts, each a transaction of its own, and what the first of them did.
pub(crate) struct ImportParts {
    waiting: vec::IntoIter<Calls>,
    options: ImportOptions,
    done: ImportBatch,
}

impl ImportParts {
    /// The IDs of a batch, each once.
    pub(crate) fn ids(calls: &Calls) -> HashSet<&CallId> {
        calls.iter().map(|(id, _)| id).collect()
    }

    /// Splits a batch, given the sizes of the stored records that it changes.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`] if the batch must be one transaction and changes too much.
    pub(crate) fn split(
        calls: Calls,
        mut sizes: HashMap<CallId, usize>,
        options: ImportOptions,
    ) -> Result<Self, StoreError> {
        let (mut parts, mut part, mut part_bytes, mut stored_bytes) = (Vec::new(), Vec::new(), 0_usize, 0_usize);
        for (id, write) in calls {
            let sent = write.bytes();
            let stored = sizes.get(&id).copied().unwrap_or(0);
            // The next line with this ID changes what this one has written.
            sizes.insert(id.clone(), stored.max(sent));
            stored_bytes = stored_bytes.saturating_add(stored);
            part_bytes = part_bytes.saturating_add(stored).saturating_add(sent);
            if !options.is_atomic && !part.is_empty() && part_bytes > MAX_PART_BYTES {
                parts.push(std::mem::take(&mut part));
                part_bytes = stored.saturating_add(sent);
            }
            part.push((id, write));
        }
        parts.push(part);
        // The caller bounds what is sent.
        if options.is_atomic && stored_bytes > MAX_PART_BYTES {
            let detail = format!(
                "cannot be true: the stored records that the import changes have {stored_bytes} bytes, and one transaction changes \
                 at most {MAX_PART_BYTES}"
            );
            return Err(StoreError::Refused(
                FieldError::new(FieldErrorCode::OutOfRange, detail).in_parameter("atomic"),
            ));
        }
        let done = ImportBatch { first_sequence: 0, outcomes: Vec::new() };
        Ok(Self { waiting: parts.into_iter(), options, done })
    }

    /// The next part and its options.
    pub(crate) fn next_part(&mut self) -> Option<(Calls, ImportOptions)> {
        Some((self.waiting.next()?, self.options))
    }

    /// Adds what a part did.
    pub(crate) fn add(&mut self, ImportBatch { first_sequence, outcomes }: ImportBatch) {
        self.options.began_at = Some(first_sequence);
        self.done.first_sequence = first_sequence;
        self.done.outcomes.extend(outcomes);
    }

    /// What the batch did, after its last part.
    pub(crate) fn done(self) -> ImportBatch {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::call_write::SentDocument;

    const MIB: usize = 1024 * 1024;

    fn call(id: &str, sent_bytes: usize) -> (CallId, CallWrite) {
        let body = Bytes::from(vec![b' '; sent_bytes]);
        let (media_type, source) = (String::new(), String::new());
        let sent = Some(SentDocument { body, media_type, source, warnings: Vec::new(), is_changed: false });
        (id.parse().unwrap(), CallWrite { sent, ..CallWrite::default() })
    }

    /// The number of lines of each transaction, and whether all of them could be one.
    fn parts(calls: &[(&str, usize)], stored: &[(&str, usize)]) -> (Vec<usize>, bool) {
        let split = |is_atomic| {
            let calls = calls.iter().map(|(id, bytes)| call(id, *bytes)).collect();
            let sizes = stored.iter().map(|(id, bytes)| (id.parse().unwrap(), *bytes)).collect();
            ImportParts::split(calls, sizes, ImportOptions { is_atomic, ..ImportOptions::default() })
        };
        let sizes = split(false).unwrap().waiting.map(|part| part.len()).collect();
        let whole = split(true);
        assert!(
            whole.as_ref().is_ok_and(|whole| whole.waiting.len() == 1) || matches!(whole, Err(StoreError::Refused(_)))
        );
        (sizes, whole.is_ok())
    }

    /// No transaction has more than the maximum, apart from one of a single line.
    #[test]
    fn a_transaction_reads_and_writes_a_bounded_number_of_bytes() {
        assert_eq!(parts(&[], &[]), (vec![0], true), "also an empty batch reads the sequence");
        assert_eq!(parts(&[("a", MIB), ("b", 2)], &[]), (vec![2], true));
        assert_eq!(
            parts(&[("a", 1), ("b", 1), ("c", 1)], &[("a", 16 * MIB), ("b", 15 * MIB), ("c", MIB)]),
            (vec![2, 1], true)
        );
        let short = ["a", "b", "c", "d", "e"].map(|id| (id, 10));
        assert_eq!(parts(&short, &short.map(|(id, _)| (id, 15 * MIB))), (vec![2, 2, 1], false));
        assert_eq!(parts(&short[..3], &[("b", 40 * MIB)]), (vec![1, 1, 1], false));
        // What was sent is bounded by its sender.
        assert_eq!(parts(&[("a", 20 * MIB), ("b", 20 * MIB)], &[]), (vec![1, 1], true));
        // Lines with one ID read what the lines before them have written, and each writes it again.
        assert_eq!(parts(&[("a", 11 * MIB), ("a", 1), ("a", 1), ("a", 1)], &[]), (vec![2, 2], false));
    }
}
