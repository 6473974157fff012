//! What the writing methods of a store take.

use bytes::Bytes;
use callhistory_model::{CallInput, CallPatch, FieldErrors, FieldWarning, Handling, ImportMode, OriginalInfo};

use crate::results::WriteOutcome;

/// A document as it was sent. It becomes an original of its record if the record has less than it, or something else.
#[derive(Clone, Debug, PartialEq)]
pub struct SentDocument {
    /// Its bytes.
    pub body: Bytes,
    /// The media type that it was sent with.
    pub media_type: String,
    /// Where it came from: `api`, `import`, or the name of a vendor.
    pub source: String,
    /// What parsing it has changed.
    pub warnings: Vec<FieldWarning>,
    /// Whether it is kept although the write itself loses nothing.
    pub is_changed: bool,
}

/// A record to write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallWrite {
    /// The members.
    pub input: CallInput,
    /// How unknown members are treated: strict handling refuses those that the stored record does not have.
    pub handling: Handling,
    /// The document that the input was read from.
    pub sent: Option<SentDocument>,
}

impl CallWrite {
    /// About the size of the write, in bytes.
    #[cfg(feature = "engine")]
    pub(crate) fn bytes(&self) -> usize {
        let transcript = self.input.transcript.as_ref().map_or(0, |transcript| transcript.as_str().len());
        transcript + self.sent.as_ref().map_or(0, |sent| sent.body.len())
    }
}

impl From<CallInput> for CallWrite {
    /// A strict write without a document.
    fn from(input: CallInput) -> Self {
        Self { input, ..Self::default() }
    }
}

/// A patch to apply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PatchWrite {
    /// The changes.
    pub patch: CallPatch,
    /// How the patched record is checked.
    pub handling: Handling,
    /// Whether the patch creates a record that does not exist.
    pub is_upsert: bool,
    /// The document that the patch was read from.
    pub sent: Option<SentDocument>,
}

impl From<CallPatch> for PatchWrite {
    /// A strict patch of an existing record, without a document.
    fn from(patch: CallPatch) -> Self {
        Self { patch, ..Self::default() }
    }
}

/// How a batch of an import is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// What is done with records that exist.
    pub mode: ImportMode,
    /// Whether records that were deleted are created again.
    pub restores_deleted: bool,
    /// Whether one error rolls the batch back.
    pub is_atomic: bool,
    /// The sequence of the workspace before the import, as the first batch returned it; `None` for the first batch.
    pub began_at: Option<i64>,
}

/// What a batch of an import did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportBatch {
    /// The sequence of the workspace before the import: `began_at` of its next batch.
    pub first_sequence: i64,
    /// The outcome of each record, in their order. An invalid record has its own errors.
    pub outcomes: Vec<Result<ImportedCall, FieldErrors>>,
}

/// What an import did with one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedCall {
    /// What it did.
    pub outcome: ImportOutcome,
    /// Whether the record was written since the import began: several records have one ID, or somebody else wrote it.
    pub is_repeated: bool,
    /// What the write itself kept or left out, apart from the warnings of the parser.
    pub warnings: Vec<FieldWarning>,
}

/// What an import did with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ImportOutcome {
    /// The record was created.
    Created,
    /// The record was replaced.
    Replaced,
    /// Members were merged into the record.
    Merged,
    /// The record had the same content already.
    Unchanged,
    /// The record has a final status, which the sent one would undo: it was not written.
    Stale,
    /// The record was deleted earlier: it was not written.
    Deleted,
}

impl From<WriteOutcome> for ImportOutcome {
    fn from(outcome: WriteOutcome) -> Self {
        match outcome {
            WriteOutcome::Created => Self::Created,
            WriteOutcome::Replaced => Self::Replaced,
            WriteOutcome::Unchanged => Self::Unchanged,
        }
    }
}

/// A document as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Original {
    /// What is known of it.
    pub info: OriginalInfo,
    /// Its bytes.
    pub body: Bytes,
}
