-- The API keys. Only the SHA-256 of a key is stored. A key without a workspace is an operator key; `scopes` are separated by
-- blanks. Times are nanoseconds since 1970; a rotated key is revoked at the end of the overlap.
CREATE TABLE api_key (
    id           TEXT    NOT NULL PRIMARY KEY,
    digest       BLOB    NOT NULL,
    name         TEXT    NOT NULL,
    workspace_id TEXT,
    scopes       TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    used_at      INTEGER
) STRICT, WITHOUT ROWID;
