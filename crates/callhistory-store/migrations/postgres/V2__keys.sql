-- The API keys, a few rows of the whole database. Only the SHA-256 of a key is stored. A key without a workspace is an operator
-- key; `scopes` are separated by blanks. Times are nanoseconds since 1970; a rotated key is revoked at the end of the overlap.
CREATE TABLE api_key (
    id           text COLLATE "C" NOT NULL PRIMARY KEY,
    digest       bytea            NOT NULL,
    name         text             NOT NULL,
    workspace_id text COLLATE "C",
    scopes       text             NOT NULL,
    created_at   bigint           NOT NULL,
    expires_at   bigint,
    revoked_at   bigint,
    used_at      bigint
);
