-- Every table, key and index leads with the workspace, so the tables can be distributed by it. The exceptions
-- `secret`, `index_format` and the history of migrations belong to the whole database and have a few rows.
--
-- Texts are ordered by their bytes, as on every engine.

-- The sequence of each workspace: every change raises it at the end of its transaction and locks it until the commit, so
-- its order is the commit order. The free space keeps updates on their page.
CREATE TABLE workspace (
    workspace_id  text COLLATE "C" NOT NULL PRIMARY KEY,
    last_sequence bigint           NOT NULL
) WITH (fillfactor = 50);

-- `body` and `transcript` have the canonical bytes that are returned: the transcript is the last member of the record, and `body`
-- the record without it. `digest` and `transcript_digest` are the checksums by which a read verifies them; the other columns
-- repeat what is filtered, sorted or aggregated. `status`, `direction` and `call_type` are in their normal form; `outcome` is the
-- class of the status.
-- Times are nanoseconds since 1970, durations nanoseconds, costs billionths of the currency unit. `caller` is a digest of the
-- number of the caller, in its normalised form, and of the workspace.
CREATE TABLE call (
    workspace_id      text COLLATE "C" NOT NULL,
    id                text COLLATE "C" NOT NULL,
    sequence          bigint           NOT NULL,
    sort_time         bigint           NOT NULL,
    created_at        bigint           NOT NULL,
    updated_at        bigint           NOT NULL,
    duration          bigint,
    cost              bigint,
    talk_time         bigint,
    is_answered       boolean          NOT NULL,
    currency          text COLLATE "C",
    caller            bigint,
    agent_id          text COLLATE "C",
    call_flow_id      text COLLATE "C",
    batch_id          text COLLATE "C",
    call_id           text COLLATE "C",
    status            text COLLATE "C",
    direction         text COLLATE "C",
    call_type         text COLLATE "C",
    outcome           text COLLATE "C" NOT NULL,
    from_phone_number text COLLATE "C",
    to_phone_number   text COLLATE "C",
    terms             bigint[]         NOT NULL,
    digest            bigint           NOT NULL,
    transcript_digest bigint,
    body              bytea            NOT NULL,
    transcript        bytea,
    PRIMARY KEY (workspace_id, id)
);

-- It also covers what most metrics read. An entry has at most 2,704 bytes. The longest values have 2,208: 128 of the workspace, 256
-- of the ID, 1,024 of a label (`agent_id`), 256 of each other text, and the numbers. A second label does not fit.
CREATE INDEX call_by_time ON call (workspace_id, sort_time, id)
    INCLUDE (status, duration, cost, agent_id, direction, call_type, talk_time, is_answered, currency, caller);
CREATE INDEX call_by_created ON call (workspace_id, created_at, id);
CREATE INDEX call_by_updated ON call (workspace_id, updated_at, id);
-- A record without the value counts as less than all others, on every engine.
CREATE INDEX call_by_duration ON call (workspace_id, coalesce(duration, -1), id);
CREATE INDEX call_by_cost ON call (workspace_id, coalesce(cost, -9223372036854775807), id);

-- A term is a digest of the workspace, a member and a value or word: an entry belongs to one workspace.
CREATE INDEX call_by_term ON call USING gin (terms);

-- Every change, in the order of commits. `kind` is 1 for created, 2 for updated, 3 for deleted.
CREATE TABLE change (
    workspace_id text COLLATE "C" NOT NULL,
    sequence     bigint           NOT NULL,
    kind         smallint         NOT NULL,
    id           text COLLATE "C" NOT NULL,
    changed_at   bigint           NOT NULL,
    PRIMARY KEY (workspace_id, sequence)
);

-- Whether a record was deleted: an import does not bring it back.
CREATE INDEX change_deleted ON change (workspace_id, id) WHERE kind = 3;

-- Documents as they were sent, where the record has less or something else. `body` is the document, compressed with zstd;
-- `content_hash` is the SHA-256 of the workspace, the ID and the document: a record has a document once. `total_bytes` is the
-- size of the compressed documents of the record up to this one. `digest` verifies the other columns.
CREATE TABLE original (
    workspace_id text COLLATE "C" NOT NULL,
    id           text COLLATE "C" NOT NULL,
    number       bigint           NOT NULL,
    received_at  bigint           NOT NULL,
    source       text             NOT NULL,
    media_type   text             NOT NULL,
    warnings     text             NOT NULL,
    bytes        bigint           NOT NULL,
    total_bytes  bigint           NOT NULL,
    content_hash bytea            NOT NULL,
    digest       bigint           NOT NULL,
    body         bytea            NOT NULL,
    PRIMARY KEY (workspace_id, id, number)
);

-- It is compressed already.
ALTER TABLE original ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX original_by_content ON original (workspace_id, id, content_hash);

-- The response to each creation with an idempotency key, committed together with its effect and replayed until it expires.
CREATE TABLE idempotency (
    workspace_id text COLLATE "C" NOT NULL,
    key          text COLLATE "C" NOT NULL,
    request_hash bytea            NOT NULL,
    expires_at   bigint           NOT NULL,
    call_id      text COLLATE "C" NOT NULL,
    sequence     bigint           NOT NULL,
    digest       bigint           NOT NULL,
    body         bytea            NOT NULL,
    PRIMARY KEY (workspace_id, key)
);

-- A deletion clears the response that its record was created with.
CREATE INDEX idempotency_by_call ON idempotency (workspace_id, call_id);
CREATE INDEX idempotency_by_expiry ON idempotency (workspace_id, expires_at);

-- The format of the columns and the terms of records, and the country of the numbering plan that normalised their phone numbers, or
-- an empty text. The program writes them again if it has another format.
CREATE TABLE index_format (
    version bigint NOT NULL,
    country text   NOT NULL
);

-- The secret that signs the cursors, and identifies the epoch in which versions and cursors have a meaning. `server` is where the
-- database was when it was last written; elsewhere it can lack commits, so the next epoch begins there. A new workspace starts
-- after `first_sequence`, above the sequences of earlier epochs.
CREATE TABLE secret (
    name           text   NOT NULL PRIMARY KEY,
    value          bytea  NOT NULL,
    first_sequence bigint NOT NULL DEFAULT 0,
    server         text
);

INSERT INTO secret (name, value)
VALUES ('cursor', decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));
