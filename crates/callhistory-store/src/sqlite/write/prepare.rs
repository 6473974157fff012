//! Writes, prepared on the thread of their caller: the writer thread must not make others wait for what it need not do itself.

use bytes::Bytes;
use callhistory_model::{CallId, CallInput, CallRecord, Timestamp, WorkspaceId};
use sha2::{Digest as _, Sha256};

use crate::{
    call_write::{CallWrite, PatchWrite},
    domain::{
        mutation::{self, WriteWarnings},
        options::StoreOptions,
        original::PreparedDocument,
        phone_number::NumberingPlan,
        prepared::{LARGE_BYTES, PreparedTerms, prepare, take_document, upsert},
        search_terms::{Term, Terms, have_same_terms},
    },
    error::StoreError,
    sqlite::read::{
        fulltext::{POSITIONS_PER_SECOND, first_position, push_text},
        get,
        snapshot_pool::SnapshotPool,
    },
};

/// The record that a write and a time refer to, and the options of the store.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) workspace: WorkspaceId,
    pub(crate) id: CallId,
    pub(crate) now: Timestamp,
    pub(crate) options: StoreOptions,
}

/// A record that is new under its ID.
pub(crate) struct NewCall {
    pub(crate) record: CallRecord,
    /// Whether the caller has set `updatedAt`.
    pub(crate) is_dated: bool,
    pub(crate) body: Bytes,
    pub(crate) terms: String,
    pub(crate) position: i64,
}

impl NewCall {
    fn make(input: CallInput, target: &Target) -> Result<Self, StoreError> {
        let Target { workspace, id, now, options } = target;
        let is_dated = input.updated_at.is_some();
        let (record, body) = mutation::create(input, (workspace, id), now, options.max_record_bytes)?;
        Ok(Self {
            is_dated,
            body,
            terms: term_text(&record, options.plan()),
            position: preferred_position(&record),
            record,
        })
    }
}

/// What is prepared for a write over a record that exists.
#[derive(Default)]
pub(crate) struct Prepared {
    pub(crate) document: Option<PreparedDocument>,
    pub(crate) terms: Option<PreparedTerms>,
}

/// A write of a whole record.
pub(crate) struct PreparedCall {
    /// Without its document.
    pub(crate) write: CallWrite,
    pub(crate) document: Option<PreparedDocument>,
    /// The record that it creates if there is none.
    pub(crate) new: Result<NewCall, StoreError>,
    /// What led to the input without the parser.
    pub(crate) warnings: WriteWarnings,
    /// The terms that a merge is expected to lead to.
    pub(crate) merged: Option<PreparedTerms>,
}

impl PreparedCall {
    pub(crate) fn make(mut write: CallWrite, target: &Target) -> Result<Self, StoreError> {
        let Target { workspace, id, .. } = target;
        let document = take_document(&mut write.sent, workspace, id)?;
        let new = NewCall::make(write.input.clone(), target);
        Ok(Self { write, document, new, warnings: WriteWarnings::default(), merged: None })
    }

    /// The write, and what is prepared for it if the record exists.
    pub(crate) fn split(self) -> (CallWrite, Prepared) {
        let new = self.new.ok().map(|new| PreparedTerms::new(new.record, new.terms));
        (self.write, Prepared { document: self.document, terms: self.merged.or(new) })
    }
}

/// A patch.
pub(crate) struct PreparedPatch {
    /// Without its document.
    pub(crate) write: PatchWrite,
    pub(crate) prepared: Prepared,
    /// The record that it creates if there is none, if it may.
    pub(crate) created: Option<Result<PreparedCall, StoreError>>,
}

impl PreparedPatch {
    pub(crate) fn make(
        mut write: PatchWrite,
        target: &Target,
        terms: Option<PreparedTerms>,
    ) -> Result<Self, StoreError> {
        let Target { workspace, id, .. } = target;
        let document = take_document(&mut write.sent, workspace, id)?;
        let created = upsert(&write, workspace, id).map(|created| {
            let (call, warnings) = created?;
            Ok(PreparedCall { document: document.clone(), warnings, ..PreparedCall::make(call, target)? })
        });
        Ok(Self { write, prepared: Prepared { document, terms }, created })
    }
}

pub(crate) async fn prepare_call(write: CallWrite, target: Target) -> Result<(PreparedCall, Target), StoreError> {
    let is_large = write.bytes() > LARGE_BYTES;
    prepare(is_large, move || PreparedCall::make(write, &target).map(|call| (call, target))).await
}

/// The terms that a patch of a large record will need, unless the record changes in the meantime.
pub(crate) fn expected_terms(snapshots: &SnapshotPool, target: &Target, patch: &PatchWrite) -> Option<PreparedTerms> {
    let stored = stored_record(snapshots, target)?;
    let patched = patch.patch.apply(&stored, patch.handling).ok()?.input;
    terms_after(patched, stored, target.options.plan())
}

/// The terms that a merge into a large record will need, unless the record changes in the meantime.
pub(crate) fn merged_terms(snapshots: &SnapshotPool, target: &Target, write: &CallWrite) -> Option<PreparedTerms> {
    let bytes = snapshots.read(|db| Ok(get::call_bytes(db, &target.workspace, &target.id)?)).ok()?;
    if bytes == 0 || bytes.max(write.bytes()) <= LARGE_BYTES {
        return None;
    }
    let stored = stored_record(snapshots, target)?;
    let merged = write.input.clone().merge_into(&stored).ok()?.input;
    terms_after(merged, stored, target.options.plan())
}

fn stored_record(snapshots: &SnapshotPool, target: &Target) -> Option<CallRecord> {
    let call = snapshots.read(|db| get::get_call(db, &target.workspace, &target.id)).ok()??.1;
    serde_json::from_slice(&call.body).ok()
}

/// The terms after a write over a record, if they change.
fn terms_after(mut input: CallInput, stored: CallRecord, plan: NumberingPlan) -> Option<PreparedTerms> {
    input.id = Some(stored.id.clone());
    input.workspace_id = Some(stored.workspace_id.clone());
    input.created_at.get_or_insert_with(|| stored.created_at.clone());
    input.updated_at.get_or_insert_with(|| stored.updated_at.clone());
    let record = input.into_record().ok()?;
    let is_needed = !have_same_terms(&stored, &record)
        || first_position(stored.sort_time_nanos()) != first_position(record.sort_time_nanos());
    is_needed.then(|| PreparedTerms::make(record, plan, term_text))
}

/// The terms of a record in the format of the full-text index.
pub(super) fn term_text(record: &CallRecord, plan: NumberingPlan) -> String {
    let terms: Vec<Term> = Terms::new(&record.workspace_id).of(record, plan);
    let mut text = String::with_capacity(terms.len() * 17);
    for term in terms {
        push_text(&mut text, term);
        text.push(' ');
    }
    text
}

/// The preferred position of a record: spread over its second by a digest of the ID, so that it is mostly free.
pub(crate) fn preferred_position(record: &CallRecord) -> i64 {
    let digest =
        Sha256::new_with_prefix(record.workspace_id.as_str()).chain_update([0]).chain_update(record.id.as_str());
    let digest = digest.finalize();
    let spread = digest.iter().take(8).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    let start = i64::try_from(spread % POSITIONS_PER_SECOND.unsigned_abs()).unwrap_or(0);
    first_position(record.sort_time_nanos()).saturating_add(start)
}
