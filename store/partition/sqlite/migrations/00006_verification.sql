-- +goose Up

-- One row: how far a verification has come, and when this partition was last verified in full. From this version on, the
-- column checksum of entries has a row checksum once older binaries are shut out.
CREATE TABLE IF NOT EXISTS {p}verification (
    id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    verified_at INTEGER NOT NULL, -- microseconds, the clock of the process; 0: never
    began_at    INTEGER NOT NULL, -- of the verification that is under way; 0: none
    deep        INTEGER NOT NULL, -- 1: it reads the values too
    next_key    BLOB    NOT NULL, -- first key that it has not compared
    compared    INTEGER NOT NULL, -- rows that it has compared
    differences INTEGER NOT NULL  -- rows that it has listed
);
INSERT OR IGNORE INTO {p}verification (id, verified_at, began_at, deep, next_key, compared, differences) VALUES (1, 0, 0, 0, x'', 0, 0);

-- The table of version 5, which databases of an earlier version 5 lack.
CREATE TABLE IF NOT EXISTS {p}reached (
    master  TEXT    NOT NULL PRIMARY KEY,
    reports INTEGER NOT NULL -- grows with each report
) WITHOUT ROWID;
