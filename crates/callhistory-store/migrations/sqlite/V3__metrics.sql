-- What the numbers of calls are counted from: for each combination of these values that a workspace has had, a small number.
CREATE TABLE metric_group (
    workspace_id TEXT    NOT NULL,
    group_id     INTEGER NOT NULL,
    status       TEXT,
    agent_id     TEXT,
    call_flow_id TEXT,
    direction    TEXT,
    call_type    TEXT,
    PRIMARY KEY (workspace_id, group_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX metric_group_by_value ON metric_group (workspace_id, agent_id, status, call_flow_id, direction, call_type);

-- And the rest of what they need, some hundred calls to a row, one column after the other: times, groups, durations, costs.
-- A row has the calls from `start` on, up to the next `start`; only where very many begin at one moment there is more than
-- one `part`. What is summed up stands before `columns`, so that reading it does not touch those. A sum that does not fit
-- is NULL.
CREATE TABLE metric_segment (
    workspace_id TEXT    NOT NULL,
    start        INTEGER NOT NULL,
    part         INTEGER NOT NULL,
    first        INTEGER NOT NULL,
    last         INTEGER NOT NULL,
    calls        INTEGER NOT NULL,
    completed    INTEGER NOT NULL,
    failed       INTEGER NOT NULL,
    timed        INTEGER NOT NULL,
    duration     INTEGER,
    cost         INTEGER,
    columns      BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX metric_segment_by_start ON metric_segment (workspace_id, start, part);

-- The shape of those rows that this database has. Where it is not that of the program, they are made anew.
CREATE TABLE metric_shape (
    shape INTEGER NOT NULL
) STRICT;
