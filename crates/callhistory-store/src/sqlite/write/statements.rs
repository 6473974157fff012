//! The transaction of a group, and the statements of its writes.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use callhistory_model::{CallId, CallRecord, Timestamp, WorkspaceId};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    columns::write_columns,
    idempotency, originals,
    prepare::{NewCall, Prepared, PreparedCall, PreparedPatch, preferred_position, term_text},
};
use crate::{
    call_write::{ImportBatch, ImportOptions, ImportOutcome, ImportedCall},
    domain::{
        aggregate::MetricsRow,
        index_texts::IndexTexts,
        mutation::{self, Change, ChangeKind, IdempotencyKey, Precondition},
        options::StoreOptions,
        original::OriginalTotals,
        prepared::PreparedTerms,
        search_terms::have_same_terms,
    },
    error::StoreError,
    results::{StoredCall, WriteOutcome, WrittenCall},
    sqlite::{
        columnar::{
            rebuild::COLUMNS,
            segment::{self, CallValues, SegmentChanges},
        },
        read::{
            changes::last_sequence,
            fulltext::{POSITIONS_PER_SECOND, first_position},
            get::get_call,
        },
    },
};

/// A change of the terms at a position.
enum TermChange {
    /// The position has no terms yet; replacing would search for old ones, which takes as long as inserting.
    Insert(String),
    Replace(String),
    Delete,
}

/// The transaction of a group, and the work that its writes leave to its end.
pub(crate) struct WriteTransaction {
    pub(crate) db: Connection,
    /// The sequence before the first change of a new workspace.
    first_sequence: i64,
    options: StoreOptions,
    /// By position. The full-text index is fast only in the order of positions.
    terms: Vec<(i64, TermChange)>,
    /// Calls that are added to the columns (1), or removed (-1).
    columns: Vec<((String, CallValues), i64)>,
    /// The time of the last change of each workspace that the group writes to.
    last_changes: HashMap<WorkspaceId, i64>,
    /// Caches drop these records, and followers are notified after the commit.
    pub(crate) changed: Vec<(WorkspaceId, CallId)>,
}

impl WriteTransaction {
    pub(crate) fn new(db: Connection, first_sequence: i64, options: StoreOptions) -> Self {
        Self {
            db,
            first_sequence,
            options,
            terms: Vec::new(),
            columns: Vec::new(),
            last_changes: HashMap::new(),
            changed: Vec::new(),
        }
    }

    pub(crate) fn begin(&mut self) -> Result<(), StoreError> {
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        self.truncate((0, 0, 0));
        self.last_changes.clear();
        Ok(())
    }

    /// The time of the last change of a workspace, in nanoseconds since 1970.
    fn last_change(&mut self, workspace: &WorkspaceId) -> Result<i64, StoreError> {
        if let Some(last) = self.last_changes.get(workspace) {
            return Ok(*last);
        }
        let last = "SELECT changed_at FROM change WHERE workspace_id = ?1 ORDER BY sequence DESC LIMIT 1";
        let last = self.db.prepare_cached(last)?.query_row([workspace.as_str()], |row| row.get(0)).optional()?;
        Ok(*self.last_changes.entry(workspace.clone()).or_insert(last.unwrap_or(0)))
    }

    /// The time of a change that is written now.
    fn time_of_change(&mut self, workspace: &WorkspaceId, now: &Timestamp) -> Result<Timestamp, StoreError> {
        Ok(mutation::time_of_change(now, self.last_change(workspace)?))
    }

    /// Runs a write in a savepoint: its failure rolls back only its own work.
    pub(crate) fn in_savepoint(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let before = (self.terms.len(), self.columns.len(), self.changed.len());
        self.db.prepare_cached("SAVEPOINT write")?.execute([])?;
        match write(self) {
            Ok(()) => {}
            // On a full disk or an I/O error SQLite can roll back the whole transaction.
            Err(error) if self.db.is_autocommit() => return Err(error),
            Err(_) => {
                self.db.prepare_cached("ROLLBACK TO write")?.execute([])?;
                self.truncate(before);
            }
        }
        self.db.prepare_cached("RELEASE write")?.execute([])?;
        Ok(())
    }

    fn truncate(&mut self, (terms, columns, changed): (usize, usize, usize)) {
        self.terms.truncate(terms);
        self.columns.truncate(columns);
        self.changed.truncate(changed);
    }

    /// Writes the terms and the columns of all writes.
    pub(crate) fn write_deferred(&mut self) -> Result<(), StoreError> {
        let mut terms = BTreeMap::new();
        for (position, change) in std::mem::take(&mut self.terms) {
            let change = match change {
                // Another change of the group can have left terms at the position.
                TermChange::Insert(text) if terms.contains_key(&position) => TermChange::Replace(text),
                change => change,
            };
            terms.insert(position, change);
        }
        write_terms(&self.db, &terms)?;
        let mut columns = SegmentChanges::new();
        for (call, by) in std::mem::take(&mut self.columns) {
            *columns.entry(call).or_default() += by;
        }
        segment::apply(&self.db, &columns, segment::MAX_CALLS)
    }

    fn change_columns(&mut self, workspace: &WorkspaceId, row: &MetricsRow<'_>, by: i64) -> rusqlite::Result<()> {
        let values = segment::call_values(&self.db, workspace, row)?;
        self.columns.push(((workspace.as_str().to_owned(), values), by));
        Ok(())
    }
}

fn write_terms(db: &Connection, changes: &BTreeMap<i64, TermChange>) -> rusqlite::Result<()> {
    for (position, change) in changes {
        let _rows = match change {
            TermChange::Insert(terms) => {
                db.prepare_cached("INSERT INTO call_term (rowid, terms) VALUES (?1, ?2)")?.execute((position, terms))?
            }
            TermChange::Replace(terms) => db
                .prepare_cached("INSERT OR REPLACE INTO call_term (rowid, terms) VALUES (?1, ?2)")?
                .execute((position, terms))?,
            TermChange::Delete => db.prepare_cached("DELETE FROM call_term WHERE rowid = ?1")?.execute([position])?,
        };
    }
    Ok(())
}

fn read_record(body: &[u8]) -> Result<CallRecord, StoreError> {
    serde_json::from_slice(body)
        .map_err(|error| StoreError::Internal(format!("a stored record cannot be read: {error}")))
}

pub(crate) fn create_call(
    tx: &mut WriteTransaction,
    (workspace, id): (&WorkspaceId, &CallId),
    call: PreparedCall,
    key: Option<(&IdempotencyKey, [u8; 32])>,
    now: &Timestamp,
) -> Result<WrittenCall, StoreError> {
    let Some((key, hash)) = key else {
        let time = time_of_creation(tx, (workspace, id), now)?;
        return insert_call(tx, call, (now, &time));
    };
    idempotency::clear_expired_keys(&tx.db, workspace, now)?;
    if let Some(replay) = idempotency::find_replay(&tx.db, workspace, (key, hash), now)? {
        return Ok(replay);
    }
    let time = time_of_creation(tx, (workspace, id), now)?;
    let written = insert_call(tx, call, (now, &time))?;
    idempotency::store(&tx.db, workspace, (key, hash), &written, now)?;
    Ok(written)
}

/// The time of the creation of a record that does not exist.
fn time_of_creation(
    tx: &mut WriteTransaction,
    (workspace, id): (&WorkspaceId, &CallId),
    now: &Timestamp,
) -> Result<Timestamp, StoreError> {
    let time = mutation::time_of_creation(id, now, tx.last_change(workspace)?)?;
    let mut taken = tx.db.prepare_cached("SELECT 1 FROM call WHERE workspace_id = ?1 AND id = ?2")?;
    // Before the record is checked, as on every engine.
    if taken.exists([workspace.as_str(), id.as_str()])? { Err(StoreError::IdTaken) } else { Ok(time) }
}

pub(crate) fn replace_call(
    tx: &mut WriteTransaction,
    (workspace, id): (&WorkspaceId, &CallId),
    call: PreparedCall,
    precondition: &Precondition,
    now: &Timestamp,
) -> Result<WrittenCall, StoreError> {
    let stored = get_call(&tx.db, workspace, id)?;
    precondition.check(stored.as_ref().map(|(_, call)| call.sequence))?;
    let Some((position, stored)) = stored else { return insert_call(tx, call, (now, now)) };
    let before = read_record(&stored.body)?;
    let time = tx.time_of_change(workspace, now)?;
    let (write, prepared) = call.split();
    let change = mutation::replace(write, precondition, &before, &time, tx.options.max_record_bytes)?;
    apply_change(tx, (position, &before, stored), change, prepared, (now, &time))
}

/// Imports many records. An invalid record is a result of its own, unless the batch writes all or none; any other error rolls
/// back all.
pub(crate) fn import_calls(
    tx: &mut WriteTransaction,
    workspace: &WorkspaceId,
    calls: Vec<(CallId, PreparedCall)>,
    options: ImportOptions,
    now: &Timestamp,
) -> Result<ImportBatch, StoreError> {
    let first_sequence = options.began_at.map_or_else(|| last_sequence(&tx.db, workspace), Ok)?;
    let options = ImportOptions { began_at: Some(first_sequence), ..options };
    let mut outcomes = Vec::with_capacity(calls.len());
    for (id, call) in calls {
        outcomes.push(match import_call(tx, (workspace, &id), call, options, now) {
            Err(StoreError::Invalid(errors)) => Err(errors),
            outcome => Ok(outcome?),
        });
    }
    mutation::check_atomic(&outcomes, options)?;
    Ok(ImportBatch { first_sequence, outcomes })
}

fn import_call(
    tx: &mut WriteTransaction,
    (workspace, id): (&WorkspaceId, &CallId),
    call: PreparedCall,
    options: ImportOptions,
    now: &Timestamp,
) -> Result<ImportedCall, StoreError> {
    let Some((position, stored)) = get_call(&tx.db, workspace, id)? else {
        if !options.restores_deleted && was_deleted(&tx.db, (workspace, id))? {
            return Ok(ImportedCall { outcome: ImportOutcome::Deleted, is_repeated: false, warnings: Vec::new() });
        }
        let WrittenCall { warnings, .. } = insert_call(tx, call, (now, now))?;
        return Ok(ImportedCall { outcome: ImportOutcome::Created, is_repeated: false, warnings });
    };
    let is_repeated = options.began_at.is_some_and(|sequence| stored.sequence > sequence);
    let before = read_record(&stored.body)?;
    let time = tx.time_of_change(workspace, now)?;
    let (write, prepared) = call.split();
    let (change, outcome) = mutation::import(write, options.mode, &before, &time, tx.options.max_record_bytes)?;
    let WrittenCall { warnings, .. } = apply_change(tx, (position, &before, stored), change, prepared, (now, &time))?;
    Ok(ImportedCall { outcome, is_repeated, warnings })
}

/// Whether a record that does not exist was deleted.
fn was_deleted(db: &Connection, (workspace, id): (&WorkspaceId, &CallId)) -> rusqlite::Result<bool> {
    let tombstone = "SELECT 1 FROM change WHERE workspace_id = ?1 AND id = ?2 AND kind = 3";
    db.prepare_cached(tombstone)?.exists([workspace.as_str(), id.as_str()])
}

pub(crate) fn update_call(
    tx: &mut WriteTransaction,
    (workspace, id): (&WorkspaceId, &CallId),
    patch: PreparedPatch,
    precondition: &Precondition,
    now: &Timestamp,
) -> Result<Option<WrittenCall>, StoreError> {
    let stored = get_call(&tx.db, workspace, id)?;
    let Some((position, stored)) = stored else {
        let Some(created) = patch.created else { return Ok(None) };
        precondition.check(None)?;
        return insert_call(tx, created?, (now, now)).map(Some);
    };
    precondition.check(Some(stored.sequence))?;
    let before = read_record(&stored.body)?;
    let time = tx.time_of_change(workspace, now)?;
    let change = mutation::patch(&patch.write, precondition, &before, &time, tx.options.max_record_bytes)?;
    apply_change(tx, (position, &before, stored), change, patch.prepared, (now, &time)).map(Some)
}

/// Writes a change of a record, and the document that it came from.
fn apply_change(
    tx: &mut WriteTransaction,
    (position, before, stored): (i64, &CallRecord, StoredCall),
    change: Change,
    prepared: Prepared,
    (now, time): (&Timestamp, &Timestamp),
) -> Result<WrittenCall, StoreError> {
    let Change { record, warnings } = change;
    let own = (&before.workspace_id, &before.id);
    let size = record.as_ref().map(|(_, json)| json.len());
    // Everything that can fail comes before the first statement that writes.
    let document = match prepared.document.filter(|document| document.is_kept(&warnings)) {
        Some(document) if originals::exists(&tx.db, own, document.hash())? => None,
        document => document,
    };
    let totals = || originals::totals(&tx.db, own);
    let original = match (document, size) {
        (Some(document), _) => {
            let sizes = (size.unwrap_or(stored.body.len()), tx.options.max_record_bytes);
            Some(document.row(&warnings, totals()?, now, sizes)?)
        }
        (None, Some(size)) => {
            mutation::check_size(size, usize::try_from(totals()?.bytes).unwrap_or(0), tx.options.max_record_bytes)?;
            None
        }
        (None, None) => None,
    };
    let id = before.id.clone();
    let written = match record {
        None => WrittenCall { id, call: stored, outcome: WriteOutcome::Unchanged, warnings: warnings.list },
        Some((record, json)) => {
            let call = replace_row(tx, (position, before), (record, json), prepared.terms, time)?;
            WrittenCall { id, call, outcome: WriteOutcome::Replaced, warnings: warnings.list }
        }
    };
    original.iter().try_for_each(|row| originals::insert(&tx.db, own, row))?;
    Ok(written)
}

pub(crate) fn delete_call(
    tx: &mut WriteTransaction,
    workspace: &WorkspaceId,
    id: &CallId,
    precondition: &Precondition,
    now: &Timestamp,
) -> Result<bool, StoreError> {
    // Without the body: a damaged record can be deleted.
    let stored = tx
        .db
        .prepare_cached("SELECT position, sequence FROM call WHERE workspace_id = ?1 AND id = ?2")?
        .query_row([workspace.as_str(), id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((position, sequence)) = stored else { return Ok(false) };
    precondition.check(Some(sequence))?;
    let values = tx
        .db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM call c WHERE c.workspace_id = ?1 AND c.id = ?2"))?
        .query_row([workspace.as_str(), id.as_str()], |row| {
            segment::call_values(&tx.db, workspace, &MetricsRow::read(row)?)
        })?;
    tx.columns.push(((workspace.as_str().to_owned(), values), -1));
    tx.db
        .prepare_cached("DELETE FROM call WHERE workspace_id = ?1 AND id = ?2")?
        .execute([workspace.as_str(), id.as_str()])?;
    // The key stays: a late retry of the creation must not create the record again.
    tx.db
        .prepare_cached("UPDATE idempotency SET body = x'' WHERE workspace_id = ?1 AND call_id = ?2")?
        .execute([workspace.as_str(), id.as_str()])?;
    originals::delete(&tx.db, (workspace, id))?;
    tx.terms.push((position, TermChange::Delete));
    let time = tx.time_of_change(workspace, now)?;
    write_change(tx, workspace, id, ChangeKind::Deleted, mutation::last_change(&time, None))?;
    Ok(true)
}

/// Writes every column of a record that exists.
pub(super) const UPDATE_CALL: &str =
    "UPDATE call SET position = :position, sequence = :sequence, sort_time = :sort_time, created_at = :created_at,
         updated_at = :updated_at, duration = :duration, cost = :cost, talk_time = :talk_time,
         is_answered = :is_answered, currency = :currency, caller = :caller,
         agent_id = :agent_id, call_flow_id = :call_flow_id, batch_id = :batch_id, call_id = :call_id,
         status = :status, direction = :direction, call_type = :call_type, outcome = :outcome,
         from_phone_number = :from_phone_number, to_phone_number = :to_phone_number, digest = :digest,
         transcript_digest = :transcript_digest, body = :body, transcript = :transcript
     WHERE workspace_id = :workspace_id AND id = :id";

fn replace_row(
    tx: &mut WriteTransaction,
    (position, before): (i64, &CallRecord),
    (record, body): (CallRecord, Bytes),
    prepared: Option<PreparedTerms>,
    time: &Timestamp,
) -> Result<StoredCall, StoreError> {
    let at = mutation::last_change(time, Some(&record));
    let sequence = write_change(tx, &record.workspace_id, &record.id, ChangeKind::Updated, at)?;
    let call = StoredCall { sequence, body };
    let moves = first_position(before.sort_time_nanos()) != first_position(record.sort_time_nanos());
    let new_position = if moves { free_position(&tx.db, preferred_position(&record))? } else { position };
    let plan = tx.options.plan();
    write_columns(&tx.db, UPDATE_CALL, new_position, (&record, plan), &call)?;
    let texts = (IndexTexts::of(before, plan), IndexTexts::of(&record, plan));
    let (row_before, row_after) = (MetricsRow::of(before, &texts.0), MetricsRow::of(&record, &texts.1));
    if row_before != row_after {
        tx.change_columns(&record.workspace_id, &row_before, -1)?;
        tx.change_columns(&record.workspace_id, &row_after, 1)?;
    }
    if moves {
        tx.terms.push((position, TermChange::Delete));
        tx.terms.push((
            new_position,
            TermChange::Insert(PreparedTerms::text_of(prepared.as_ref(), &record, plan, term_text)),
        ));
    } else if !have_same_terms(before, &record) {
        tx.terms
            .push((position, TermChange::Replace(PreparedTerms::text_of(prepared.as_ref(), &record, plan, term_text))));
    }
    Ok(call)
}

fn insert_call(
    tx: &mut WriteTransaction,
    call: PreparedCall,
    (now, time): (&Timestamp, &Timestamp),
) -> Result<WrittenCall, StoreError> {
    let PreparedCall { write, document, new, warnings, .. } = call;
    mutation::check_extra(&write.input, write.handling, None)?;
    let NewCall { mut record, is_dated, mut body, terms, position } = new?;
    let time = tx.time_of_change(&record.workspace_id, time)?;
    if !is_dated && mutation::set_date(&mut record, &time) {
        body = record.to_json().into();
    }
    let document = document.filter(|document| document.is_kept(&warnings));
    let sizes = (body.len(), tx.options.max_record_bytes);
    let original =
        document.map(|document| document.row(&warnings, OriginalTotals::default(), now, sizes)).transpose()?;
    let position = free_position(&tx.db, position)?;
    let at = mutation::last_change(&time, Some(&record));
    let sequence = write_change(tx, &record.workspace_id, &record.id, ChangeKind::Created, at)?;
    let call = StoredCall { sequence, body };
    let inserted = write_columns(
        &tx.db,
        "INSERT INTO call (position, workspace_id, id, sequence, sort_time, created_at, updated_at, duration, cost,
             talk_time, is_answered, currency, caller, agent_id, call_flow_id, batch_id, call_id, status, direction, call_type,
             outcome, from_phone_number, to_phone_number, digest, transcript_digest, body, transcript)
         VALUES (:position, :workspace_id, :id, :sequence, :sort_time, :created_at, :updated_at, :duration, :cost,
             :talk_time, :is_answered, :currency, :caller, :agent_id, :call_flow_id, :batch_id, :call_id, :status, :direction,
             :call_type, :outcome,
             :from_phone_number, :to_phone_number, :digest, :transcript_digest, :body, :transcript)
         ON CONFLICT (workspace_id, id) DO NOTHING",
        position,
        (&record, tx.options.plan()),
        &call,
    )?;
    if inserted == 0 {
        return Err(StoreError::IdTaken);
    }
    tx.terms.push((position, TermChange::Insert(terms)));
    tx.change_columns(&record.workspace_id, &MetricsRow::of(&record, &IndexTexts::of(&record, tx.options.plan())), 1)?;
    original.iter().try_for_each(|row| originals::insert(&tx.db, (&record.workspace_id, &record.id), row))?;
    Ok(WrittenCall { id: record.id, call, outcome: WriteOutcome::Created, warnings: warnings.list })
}

/// A free position in the second of the preferred one.
fn free_position(db: &Connection, choice: i64) -> Result<i64, StoreError> {
    let start = choice.rem_euclid(POSITIONS_PER_SECOND);
    let first = choice - start;
    // The only statement without the workspace: positions are shared, and no data of the other record is read.
    let mut taken = db.prepare_cached("SELECT 1 FROM call WHERE position = ?1")?;
    for step in 0..POSITIONS_PER_SECOND {
        let position = first + (start + step) % POSITIONS_PER_SECOND;
        if !taken.exists([position])? {
            return Ok(position);
        }
    }
    Err(StoreError::Internal("a second has no free position".to_owned()))
}

/// Inserts a change with the next sequence of the workspace.
fn write_change(
    tx: &mut WriteTransaction,
    workspace: &WorkspaceId,
    id: &CallId,
    kind: ChangeKind,
    at: i64,
) -> Result<i64, StoreError> {
    let sequence: i64 = tx
        .db
        .prepare_cached(
            "INSERT INTO workspace (workspace_id, last_sequence) VALUES (?1, ?2 + 1)
             ON CONFLICT (workspace_id) DO UPDATE SET last_sequence = last_sequence + 1
             RETURNING last_sequence",
        )?
        .query_row(params![workspace.as_str(), tx.first_sequence], |row| row.get(0))?;
    tx.db
        .prepare_cached(
            "INSERT INTO change (workspace_id, sequence, kind, id, changed_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![workspace.as_str(), sequence, kind as i64, id.as_str(), at])?;
    tx.last_changes.insert(workspace.clone(), at);
    tx.changed.push((workspace.clone(), id.clone()));
    Ok(sequence)
}
