-- The sequence of each workspace: raised by the last statement of every change, so its order is the commit order.
CREATE TABLE workspace (
    workspace_id  TEXT    NOT NULL PRIMARY KEY,
    last_sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- `body` holds the canonical bytes that are answered; the columns beside it repeat what is filtered, sorted or counted.
-- Times are nanoseconds since 1970, durations nanoseconds, costs billionths of the currency unit. `body` comes last, so
-- that reading the other columns never touches its overflow pages.
CREATE TABLE call (
    workspace_id      TEXT    NOT NULL,
    id                TEXT    NOT NULL,
    sequence          INTEGER NOT NULL,
    sort_time         INTEGER NOT NULL,
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    start_time        INTEGER,
    duration          INTEGER,
    cost              INTEGER,
    agent_id          TEXT,
    call_flow_id      TEXT,
    batch_id          TEXT,
    call_id           TEXT,
    status            TEXT,
    direction         TEXT,
    call_type         TEXT,
    from_phone_number TEXT,
    to_phone_number   TEXT,
    body              BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX call_by_id ON call (workspace_id, id);
CREATE UNIQUE INDEX call_by_sequence ON call (workspace_id, sequence);

-- The answer to each keyed creation, committed together with its effect and replayed until it expires.
CREATE TABLE idempotency (
    workspace_id TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    request_hash BLOB    NOT NULL,
    expires_at   INTEGER NOT NULL,
    call_id      TEXT    NOT NULL,
    sequence     INTEGER NOT NULL,
    body         BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX idempotency_by_key ON idempotency (workspace_id, key);
CREATE INDEX idempotency_by_expiry ON idempotency (workspace_id, expires_at);
