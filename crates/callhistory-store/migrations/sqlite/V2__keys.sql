-- The keys of callers. Of a key there is only its SHA-256. Without a workspace it is an operator's; `scopes` are words with
-- blanks between. Times are nanoseconds since 1970; a key that was replaced is revoked at the end of the overlap.
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
