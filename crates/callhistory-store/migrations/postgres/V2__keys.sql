-- The keys of callers, a few rows of the whole database. Of a key there is only its SHA-256. Without a workspace it is an
-- operator's; `scopes` are words with blanks between. Times are nanoseconds since 1970; a key that was replaced is revoked
-- at the end of the overlap.
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
