-- The sequence of each workspace: raised by the last statement of every change, so its order is the commit order.
CREATE TABLE workspace (
    workspace_id  TEXT    NOT NULL PRIMARY KEY,
    last_sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- `body` and `transcript` have the canonical bytes that are returned: the transcript is the last member of the record, and `body`
-- the record without it. `digest` and `transcript_digest` are the checksums by which a read verifies them; the other columns
-- repeat what is filtered, sorted or aggregated. `status`, `direction` and `call_type` are in their normal form; `outcome` is the
-- class of the status.
-- Times are nanoseconds since 1970, durations nanoseconds, costs billionths of the currency unit. `caller` is a digest of the
-- number of the caller, in its normalised form, and of the workspace. `body` and `transcript` come
-- last, so that reading the columns before them never touches their overflow pages.
--
-- `position` is the second of `sort_time` times a billion, plus a free number below: the table and the full-text index are
-- in the order of time, so a filter is answered newest first from the index alone.
CREATE TABLE call (
    position          INTEGER NOT NULL PRIMARY KEY,
    workspace_id      TEXT    NOT NULL,
    id                TEXT    NOT NULL,
    sequence          INTEGER NOT NULL,
    digest            INTEGER NOT NULL,
    transcript_digest INTEGER,
    sort_time         INTEGER NOT NULL,
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    duration          INTEGER,
    cost              INTEGER,
    talk_time         INTEGER,
    is_answered       INTEGER NOT NULL,
    currency          TEXT,
    caller            INTEGER,
    agent_id          TEXT,
    call_flow_id      TEXT,
    batch_id          TEXT,
    call_id           TEXT,
    status            TEXT,
    direction         TEXT,
    call_type         TEXT,
    outcome           TEXT    NOT NULL,
    from_phone_number TEXT,
    to_phone_number   TEXT,
    body              BLOB    NOT NULL,
    transcript        BLOB
) STRICT;

CREATE UNIQUE INDEX call_by_id ON call (workspace_id, id);
-- It also covers what the metrics read.
CREATE INDEX call_by_time ON call (workspace_id, sort_time, id, status, duration, cost, agent_id, call_flow_id, direction, call_type);
CREATE INDEX call_by_created ON call (workspace_id, created_at, id);
CREATE INDEX call_by_updated ON call (workspace_id, updated_at, id);
-- A record without the value counts as less than all others, on every engine.
CREATE INDEX call_by_duration ON call (workspace_id, coalesce(duration, -1), id);
CREATE INDEX call_by_cost ON call (workspace_id, coalesce(cost, -9223372036854775807), id);

-- The full-text index of terms, by `position`. A term is a digest of the workspace, a member and a value or word; the index
-- has no text of a record.
CREATE VIRTUAL TABLE call_term USING fts5 (terms, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii');

-- Every change, in the order of commits. `kind` is 1 for created, 2 for updated, 3 for deleted.
CREATE TABLE change (
    workspace_id TEXT    NOT NULL,
    sequence     INTEGER NOT NULL,
    kind         INTEGER NOT NULL,
    id           TEXT    NOT NULL,
    changed_at   INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, sequence)
) STRICT, WITHOUT ROWID;

-- Whether a record was deleted: an import does not bring it back.
CREATE INDEX change_deleted ON change (workspace_id, id) WHERE kind = 3;

-- Documents as they were sent, where the record has less or something else. `body` is the document, compressed with zstd;
-- `content_hash` is the SHA-256 of the workspace, the ID and the document: a record has a document once. `total_bytes` is the
-- size of the compressed documents of the record up to this one. `digest` verifies the other columns.
CREATE TABLE original (
    workspace_id TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    number       INTEGER NOT NULL,
    received_at  INTEGER NOT NULL,
    source       TEXT    NOT NULL,
    media_type   TEXT    NOT NULL,
    warnings     TEXT    NOT NULL,
    bytes        INTEGER NOT NULL,
    total_bytes  INTEGER NOT NULL,
    content_hash BLOB    NOT NULL,
    digest       INTEGER NOT NULL,
    body         BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX original_by_number ON original (workspace_id, id, number);
CREATE UNIQUE INDEX original_by_content ON original (workspace_id, id, content_hash);

-- The response to each creation with an idempotency key, committed together with its effect and replayed until it expires.
CREATE TABLE idempotency (
    workspace_id TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    request_hash BLOB    NOT NULL,
    expires_at   INTEGER NOT NULL,
    call_id      TEXT    NOT NULL,
    sequence     INTEGER NOT NULL,
    digest       INTEGER NOT NULL,
    body         BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX idempotency_by_key ON idempotency (workspace_id, key);
-- A deletion clears the response that its record was created with.
CREATE INDEX idempotency_by_call ON idempotency (workspace_id, call_id);
CREATE INDEX idempotency_by_expiry ON idempotency (workspace_id, expires_at);

-- The format of the columns and the terms of records, and the country of the numbering plan that normalised their phone numbers, or
-- an empty text. The program writes them again if it has another format.
CREATE TABLE index_format (
    version INTEGER NOT NULL,
    country TEXT    NOT NULL
) STRICT;

-- The secret that signs the cursors, created once for each database.
CREATE TABLE secret (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO secret (name, value) VALUES ('cursor', randomblob(32));
