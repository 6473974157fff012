//! The statements of a group of writes, in two round trips: one reads and locks, one writes and commits.

use std::{collections::HashMap, sync::LazyLock};

use bytes::Bytes;
use callhistory_model::{CallId, WorkspaceId};
use deadpool_postgres::ClientWrapper;
use tokio_postgres::{Row, Statement, types::ToSql};

use super::{
    plan::{CurrentCall, GroupPlan, IdempotencyRecord, Sequence},
    rows::{GroupRows, Values},
};
use crate::{
    domain::{
        mutation::unneeded_expiry_nanos, options::StoreOptions, original::OriginalTotals, record_digest::RecordDigest,
    },
    error::StoreError,
    postgres::{
        epoch::{CurrentEpoch, EpochRow},
        error::PgError,
        read::get::{record_bytes, record_digest},
    },
    record_bytes::RecordBytes,
};

/// Sent outside the transactions of writes: commits with a notification wait for each other.
pub(crate) const NOTIFY: &str =
    "SELECT pg_notify('callhistory_change', list.value) FROM unnest($1::text[]) AS list (value)";
pub(crate) const LISTEN: &str = "LISTEN callhistory_change";

/// Maximum number of expired idempotency keys that one group deletes, in addition to those that it uses.
const EXPIRED_KEYS_PER_GROUP: i64 = 64;

/// Locks the row of the workspace. Until the commit no other group of the workspace is planned, so the times of its changes do not
/// go back. It comes before the locks of records, so that two servers do not deadlock.
const LOCK_WORKSPACE: &str = "SELECT last_sequence FROM workspace WHERE workspace_id = $1 FOR UPDATE";

/// A statement of its own, after the lock: it sees what a group that held the lock has committed.
const LAST_CHANGE: &str = "SELECT changed_at FROM change WHERE workspace_id = $1 ORDER BY sequence DESC LIMIT 1";

/// In the order of IDs, so that two servers do not deadlock.
const LOCK_CALLS: &str = "SELECT id, sequence, digest, transcript_digest, body, transcript FROM call
     WHERE workspace_id = $1 AND id = ANY($2) ORDER BY id FOR UPDATE";

/// The last original of each record, which knows the size of all.
const READ_ORIGINALS: &str = "SELECT i.id, o.number, o.total_bytes FROM unnest($2::text[]) AS i (id)
     CROSS JOIN LATERAL (SELECT l.number, l.total_bytes FROM original l WHERE l.workspace_id = $1 AND l.id = i.id
         ORDER BY l.number DESC LIMIT 1) o";

/// Which of these documents their records have already.
const READ_DOCUMENTS: &str = "SELECT o.id, o.content_hash FROM unnest($2::text[], $3::bytea[]) AS d (id, hash)
     JOIN original o ON o.workspace_id = $1 AND o.id = d.id AND o.content_hash = d.hash";

/// Which of these records were deleted.
const READ_TOMBSTONES: &str = "SELECT i.id FROM unnest($2::text[]) AS i (id)
     WHERE EXISTS (SELECT FROM change h WHERE h.workspace_id = $1 AND h.id = i.id AND h.kind = 3)";

const READ_KEYS: &str = "SELECT key, request_hash, expires_at, call_id, sequence, digest, body FROM idempotency
     WHERE workspace_id = $1 AND key = ANY($2)";

/// Takes the sequences of the group. Until the commit no other group of the workspace gets any, so their order is that of the
/// commits. Later statements read them from the row, because they are sent before the result arrives.
const TAKE_SEQUENCES: &str = "INSERT INTO workspace (workspace_id, last_sequence) VALUES ($1, $3::bigint + $2)
     ON CONFLICT (workspace_id) DO UPDATE SET last_sequence = workspace.last_sequence + $2
     RETURNING last_sequence";

/// The columns of a record except its key and sequence, each with its array type and the cast of an item.
const COLUMNS: [(&str, &str, &str); 24] = [
    ("sort_time", "bigint[]", ""),
    ("created_at", "bigint[]", ""),
    ("updated_at", "bigint[]", ""),
    ("duration", "bigint[]", ""),
    ("cost", "bigint[]", ""),
    ("talk_time", "bigint[]", ""),
    ("caller", "bigint[]", ""),
    ("agent_id", "text[]", ""),
    ("call_flow_id", "text[]", ""),
    ("batch_id", "text[]", ""),
    ("call_id", "text[]", ""),
    ("status", "text[]", ""),
    ("direction", "text[]", ""),
    ("call_type", "text[]", ""),
    ("outcome", "text[]", ""),
    ("from_phone_number", "text[]", ""),
    ("to_phone_number", "text[]", ""),
    ("currency", "text[]", ""),
    ("is_answered", "boolean[]", ""),
    // An array of arrays would have to be rectangular.
    ("terms", "text[]", "::bigint[]"),
    ("digest", "bigint[]", ""),
    ("transcript_digest", "bigint[]", ""),
    ("body", "bytea[]", ""),
    ("transcript", "bytea[]", ""),
];

/// The sequence before the group.
const BASE: &str = "(SELECT last_sequence - $2 FROM workspace WHERE workspace_id = $1)";

/// The rows of many records as a table `r`.
fn rows() -> String {
    let types = COLUMNS.iter().enumerate().map(|(at, (_, kind, _))| format!("${}::{kind}", at + 5));
    let names = COLUMNS.iter().map(|(name, ..)| *name);
    format!(
        "unnest($3::text[], $4::bigint[], {}) AS r (id, sequence, {})",
        types.collect::<Vec<_>>().join(", "),
        names.collect::<Vec<_>>().join(", ")
    )
}

static INSERT_CALLS: LazyLock<String> = LazyLock::new(|| {
    let names = COLUMNS.map(|(name, ..)| name).join(", ");
    let values = COLUMNS.map(|(name, _, cast)| format!("r.{name}{cast}")).join(", ");
    format!(
        "INSERT INTO call (workspace_id, id, sequence, {names})
         SELECT $1, r.id, {BASE} + r.sequence, {values} FROM {}",
        rows()
    )
});

static UPDATE_CALLS: LazyLock<String> = LazyLock::new(|| {
    let values = COLUMNS.map(|(name, _, cast)| match name {
        // Absent if they have not changed.
        "terms" => format!("{name} = coalesce(r.{name}{cast}, c.{name})"),
        _ => format!("{name} = r.{name}{cast}"),
    });
    let values = values.join(", ");
    format!(
        "UPDATE call c SET sequence = {BASE} + r.sequence, {values} FROM {} WHERE c.workspace_id = $1 AND c.id = r.id",
        rows()
    )
});

/// Writes the columns of records again, unless they have changed meanwhile.
pub(super) static REINDEX_CALLS: LazyLock<String> = LazyLock::new(|| {
    let values = COLUMNS.map(|(name, _, cast)| format!("{name} = r.{name}{cast}")).join(", ");
    format!(
        "UPDATE call c SET {values} FROM {}
         WHERE c.workspace_id = $1 AND c.id = r.id AND c.sequence = r.sequence AND $2::bigint >= 0",
        rows()
    )
});

const DELETE_CALLS: &str = "DELETE FROM call WHERE workspace_id = $1 AND id = ANY($2)";

static INSERT_CHANGES: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO change (workspace_id, sequence, kind, id, changed_at)
         SELECT $1, {BASE} + r.sequence, r.kind, r.id, r.changed_at
         FROM unnest($3::bigint[], $4::smallint[], $5::text[], $6::bigint[]) AS r (sequence, kind, id, changed_at)"
    )
});

const DELETE_ORIGINALS: &str = "DELETE FROM original WHERE workspace_id = $1 AND id = ANY($2)";

const INSERT_ORIGINALS: &str = "INSERT INTO original (workspace_id, id, number, received_at, source, media_type, warnings,
         bytes, total_bytes, content_hash, digest, body)
     SELECT $1, r.* FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[],
         $9::bigint[], $10::bytea[], $11::bigint[], $12::bytea[]) AS r";

const EMPTY_KEYS: &str = "UPDATE idempotency SET body = '' WHERE workspace_id = $1 AND call_id = ANY($2)";

/// Keys that are used again are free as soon as they have expired; others are kept for longer.
const CLEAR_KEYS: &str =
    "DELETE FROM idempotency WHERE workspace_id = $1 AND expires_at <= $2 AND (key = ANY($3) OR key IN (
         SELECT key FROM idempotency WHERE workspace_id = $1 AND expires_at <= $5 ORDER BY expires_at LIMIT $4))";

static INSERT_KEYS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO idempotency (workspace_id, key, request_hash, expires_at, call_id, sequence, digest, body)
         SELECT $1, r.key, r.request_hash, r.expires_at, r.call_id, {BASE} + r.sequence, r.digest, r.body
         FROM unnest($3::text[], $4::bytea[], $5::bigint[], $6::text[], $7::bigint[], $8::bigint[], $9::bytea[])
             AS r (key, request_hash, expires_at, call_id, sequence, digest, body)"
    )
});

/// Whether the server is a standby, which does not accept writes.
pub(crate) async fn is_standby(db: &ClientWrapper) -> Result<bool, PgError> {
    Ok(db.query_one("SELECT pg_is_in_recovery()", &[]).await?.try_get(0)?)
}

/// What a group reads.
#[derive(Default)]
pub(crate) struct GroupReads<'a> {
    pub(crate) ids: Vec<&'a str>,
    pub(crate) keys: Vec<&'a str>,
    /// The documents of writes, each with the ID of its record.
    pub(crate) documents: (Vec<&'a str>, Vec<&'a [u8]>),
    /// The records of imports, which do not bring deleted records back.
    pub(crate) imported: Vec<&'a str>,
}

/// Runs a statement if there is something to read.
async fn read_if<const N: usize>(
    is_needed: bool,
    db: &ClientWrapper,
    statement: &Statement,
    values: [&(dyn ToSql + Sync); N],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    if is_needed { db.query(statement, &values).await } else { Ok(Vec::new()) }
}

/// Begins the transaction; reads the epoch, and reads and locks the records and keys of the group. A pooler can hide a fail-over,
/// so each group checks the epoch.
pub(crate) async fn begin(
    db: &ClientWrapper,
    epoch: &CurrentEpoch,
    (workspace, options): (&WorkspaceId, StoreOptions),
    GroupReads { ids, keys, documents, imported }: &GroupReads<'_>,
) -> Result<GroupPlan, PgError> {
    let check = db.prepare_cached(epoch.statement).await?;
    let lock_workspace = db.prepare_cached(LOCK_WORKSPACE).await?;
    let last_change = db.prepare_cached(LAST_CHANGE).await?;
    let lock = db.prepare_cached(LOCK_CALLS).await?;
    let read_keys = db.prepare_cached(READ_KEYS).await?;
    let read_originals = db.prepare_cached(READ_ORIGINALS).await?;
    let read_documents = db.prepare_cached(READ_DOCUMENTS).await?;
    let read_tombstones = db.prepare_cached(READ_TOMBSTONES).await?;
    let workspace_id = workspace.as_str();
    let only_workspace: &[&(dyn ToSql + Sync)] = &[&workspace_id];
    let (begun, epoch_row, locked, last_change, calls, key_rows, originals, known, tombstones) = tokio::join!(
        biased;
        db.batch_execute("BEGIN"),
        db.query_one(&check, &[]),
        db.query_opt(&lock_workspace, only_workspace),
        db.query_opt(&last_change, only_workspace),
        read_if(!ids.is_empty(), db, &lock, [&workspace_id, ids]),
        read_if(!keys.is_empty(), db, &read_keys, [&workspace_id, keys]),
        read_if(!ids.is_empty(), db, &read_originals, [&workspace_id, ids]),
        read_if(!documents.0.is_empty(), db, &read_documents, [&workspace_id, &documents.0, &documents.1]),
        read_if(!imported.is_empty(), db, &read_tombstones, [&workspace_id, imported]),
    );
    begun?;
    let epoch_row = EpochRow::read(&epoch_row?)?;
    if !epoch.accept(&epoch_row) {
        return Err(PgError::OtherServer);
    }
    let last_sequence = locked?.map_or(Ok(epoch_row.first_sequence), |row| row.try_get(0))?;
    let mut plan = GroupPlan {
        workspace: workspace.clone(),
        first_sequence: epoch_row.first_sequence,
        calls: HashMap::new(),
        keys: HashMap::new(),
        changes: Vec::new(),
        deleted: Vec::new(),
        expired_by: None,
        last_change: last_change?.map_or(Ok(0), |row| row.try_get(0))?,
        last_sequence,
        options,
    };
    calls?.iter().try_for_each(|row| add_call(&mut plan, row))?;
    key_rows?.iter().try_for_each(|row| add_key(&mut plan, row))?;
    for row in originals? {
        let totals = OriginalTotals { last_number: row.try_get(1)?, bytes: row.try_get(2)? };
        plan.calls.entry(call_id(&row, 0)?).or_default().originals.totals = totals;
    }
    for row in known? {
        let hash = row.try_get::<_, &[u8]>(1)?.try_into();
        let hash = hash.map_err(|_| StoreError::Internal("an original has an invalid hash".to_owned()))?;
        plan.calls.entry(call_id(&row, 0)?).or_default().originals.known.insert(hash);
    }
    for row in tombstones? {
        plan.calls.entry(call_id(&row, 0)?).or_default().was_deleted = true;
    }
    Ok(plan)
}

fn call_id(row: &Row, column: usize) -> Result<CallId, PgError> {
    let corrupt = |_| StoreError::Internal("a row has an invalid ID".to_owned());
    Ok(row.try_get::<_, &str>(column)?.parse().map_err(corrupt)?)
}

fn add_call(plan: &mut GroupPlan, row: &Row) -> Result<(), PgError> {
    let (id, bytes) = (call_id(row, 0)?, record_bytes(row, 4)?);
    let damage = record_digest(row, 2)?.verify(plan.workspace.as_str(), id.as_str(), bytes).err();
    let (sequence, body) = (Sequence::Stored(row.try_get(1)?), bytes.to_json());
    let call = plan.calls.entry(id).or_default();
    call.was_there = true;
    call.current = Some(CurrentCall { sequence, body, record: None, damage });
    Ok(())
}

fn add_key(plan: &mut GroupPlan, row: &Row) -> Result<(), PgError> {
    let hash: &[u8] = row.try_get(1)?;
    let (id, body) = (call_id(row, 3)?, row.try_get::<_, &[u8]>(6)?);
    let digest = RecordDigest { record: row.try_get(5)?, transcript: None };
    // Empty if the record was deleted.
    let damage =
        if body.is_empty() { None } else { digest.verify_body(plan.workspace.as_str(), id.as_str(), body).err() };
    let keyed = IdempotencyRecord {
        request_hash: hash.try_into().map_err(|_| StoreError::Internal("a key has an invalid hash".to_owned()))?,
        expires_at: row.try_get(2)?,
        id,
        sequence: Sequence::Stored(row.try_get(4)?),
        body: Bytes::copy_from_slice(body),
        damage,
        is_new: false,
    };
    plan.keys.insert(row.try_get(0)?, keyed);
    Ok(())
}

/// Writes the rows and commits, in one round trip; returns the sequence before the group.
pub(crate) async fn commit(db: &ClientWrapper, rows: &GroupRows) -> Result<i64, PgError> {
    let take = db.prepare_cached(TAKE_SEQUENCES).await?;
    let (workspace, count) = (&rows.workspace, &rows.count);
    let keys: Vec<_> = rows.keys.iter().map(|(key, _)| key.as_str()).collect();
    let column = |of: fn(&IdempotencyRecord) -> Vec<u8>| rows.keys.iter().map(|(_, key)| of(key)).collect::<Vec<_>>();
    let (hashes, bodies) = (column(|key| key.request_hash.to_vec()), column(|key| key.body.to_vec()));
    let expiries: Vec<_> = rows.keys.iter().map(|(_, key)| key.expires_at).collect();
    let call_ids: Vec<_> = rows.keys.iter().map(|(_, key)| key.id.as_str()).collect();
    let sequences: Vec<_> = rows.keys.iter().map(|(_, key)| key.sequence.after(0)).collect();
    let whole = |key: &IdempotencyRecord| {
        RecordDigest::of(workspace, key.id.as_str(), RecordBytes::without_transcript(&key.body)).record
    };
    let digests: Vec<_> = rows.keys.iter().map(|(_, key)| whole(key)).collect();
    let (expired_by, most) = (rows.expired_by.unwrap_or(i64::MIN), EXPIRED_KEYS_PER_GROUP);
    let unneeded = unneeded_expiry_nanos(expired_by);
    let change_values: [&(dyn ToSql + Sync); 6] =
        [workspace, count, &rows.changes.0, &rows.changes.1, &rows.changes.2, &rows.changes.3];
    let own = (workspace, count);
    let (deleted, updated, inserted) = (&rows.deleted, &rows.updated, &rows.inserted);
    let (updated_bodies, inserted_bodies) = (updated.bytes(), inserted.bytes());
    let originals = rows.originals.values(workspace);
    let writes: [(bool, &str, Values<'_>, Option<usize>); 9] = [
        (!deleted.is_empty(), DELETE_CALLS, vec![workspace, deleted], Some(deleted.len())),
        (!updated.ids.is_empty(), &UPDATE_CALLS, updated.values(own, &updated_bodies), Some(updated.ids.len())),
        (!inserted.ids.is_empty(), &INSERT_CALLS, inserted.values(own, &inserted_bodies), Some(inserted.ids.len())),
        (true, &INSERT_CHANGES, change_values.to_vec(), Some(rows.changes.0.len())),
        (!rows.emptied.is_empty(), EMPTY_KEYS, vec![workspace, &rows.emptied], None),
        (!rows.emptied.is_empty(), DELETE_ORIGINALS, vec![workspace, &rows.emptied], None),
        (!rows.originals.ids.is_empty(), INSERT_ORIGINALS, originals, Some(rows.originals.ids.len())),
        (rows.expired_by.is_some(), CLEAR_KEYS, vec![workspace, &expired_by, &keys, &most, &unneeded], None),
        (
            !keys.is_empty(),
            &INSERT_KEYS,
            vec![workspace, count, &keys, &hashes, &expiries, &call_ids, &sequences, &digests, &bodies],
            Some(keys.len()),
        ),
    ];
    let mut prepared = Vec::new();
    for (_, text, values, expected) in writes.iter().filter(|(wanted, ..)| *wanted) {
        prepared.push((db.prepare_cached(text).await?, values, *expected));
    }
    // Each is sent at its first poll, in this order.
    let written = futures_util::future::join_all(prepared.iter().map(|(statement, values, expected)| async move {
        let count = db.execute(statement, values).await?;
        if expected.is_some_and(|expected| count != expected as u64) {
            return Err(PgError::from(StoreError::Internal("a locked row has disappeared".to_owned())));
        }
        Ok(())
    }));
    let taken =
        async { Ok::<i64, PgError>(db.query_one(&take, &[workspace, count, &rows.first_sequence]).await?.try_get(0)?) };
    let (last, written, committed) = tokio::join!(biased; taken, written, db.batch_execute("COMMIT"));
    // The server answers the COMMIT of a failed transaction with a rollback, which is no error.
    let last = last?;
    written.into_iter().collect::<Result<(), _>>()?;
    committed?;
    Ok(last - rows.count)
}
