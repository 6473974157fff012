-- Metrics are aggregated from these tables. Each combination of these values that calls of a workspace have gets a small
-- number. It is deleted with the last of its `calls`: an erased record leaves no text behind.
CREATE TABLE metric_group (
    workspace_id TEXT    NOT NULL,
    group_id     INTEGER NOT NULL,
    status       TEXT,
    outcome      TEXT    NOT NULL,
    agent_id     TEXT,
    call_flow_id TEXT,
    direction    TEXT,
    call_type    TEXT,
    currency     TEXT,
    is_answered  INTEGER NOT NULL,
    calls        INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, group_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX metric_group_by_value
    ON metric_group (workspace_id, agent_id, status, call_flow_id, direction, call_type, currency, is_answered);

-- Segments: some hundred calls in a row, as columns of times, groups, durations, costs and talk times, and in `callers` digests of
-- the numbers of callers. A row has the calls from `start` up to the next `start`; there is more than one `part` only if very
-- many calls start at one time. The sums come before the columns, so that reading them does not touch those; `outcomes` has
-- the number of calls of each outcome, in two bytes each. A sum that does not fit, and a cost in several currencies, is NULL;
-- `currency` is that of the cost, '' without one, and NULL if no call has a cost.
CREATE TABLE metric_segment (
    workspace_id TEXT    NOT NULL,
    start        INTEGER NOT NULL,
    part         INTEGER NOT NULL,
    first        INTEGER NOT NULL,
    last         INTEGER NOT NULL,
    calls        INTEGER NOT NULL,
    answered     INTEGER NOT NULL,
    outcomes     BLOB    NOT NULL,
    timed        INTEGER NOT NULL,
    duration     INTEGER,
    talked       INTEGER NOT NULL,
    talk_time    INTEGER,
    cost         INTEGER,
    currency     TEXT,
    callers      BLOB    NOT NULL,
    columns      BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX metric_segment_by_start ON metric_segment (workspace_id, start, part);

-- The format version of the segments. The program rebuilds segments of another version.
CREATE TABLE metric_format (
    version INTEGER NOT NULL
) STRICT;
