-- +goose Up

-- One row: the ballots that order the maps which are proposed to this partition.
CREATE TABLE IF NOT EXISTS {p}ballots (
    id       INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    promised INTEGER NOT NULL, -- the highest ballot that was heard of; 0: none
    accepted INTEGER NOT NULL, -- the ballot of the map in the table cluster
    chosen   INTEGER NOT NULL  -- the highest ballot that a majority of the voters is known to have accepted
);
INSERT OR IGNORE INTO {p}ballots (id, promised, accepted, chosen) VALUES (1, 0, 0, 0);

-- A new table instead of ADD COLUMN, so that the migration can be repeated.
ALTER TABLE {p}positions RENAME TO {p}positions_before;
CREATE TABLE {p}positions (
    origin    TEXT    NOT NULL PRIMARY KEY,
    revision  INTEGER NOT NULL,          -- everything of the origin up to here is held
    goal      INTEGER NOT NULL,          -- what a catch-up in several transactions is heading for
    synced_at INTEGER NOT NULL,          -- microseconds, the origin's clock; 0: never whole yet
    collected INTEGER NOT NULL,          -- tombstones up to here are gone
    guarded   INTEGER NOT NULL DEFAULT 0 -- in the own row: how many guards the master has
) WITHOUT ROWID;
INSERT INTO {p}positions (origin, revision, goal, synced_at, collected)
    SELECT origin, revision, goal, synced_at, collected FROM {p}positions_before;
DROP TABLE {p}positions_before;

-- One row a chunk of files: content-addressed, outside entries and positions.
CREATE TABLE IF NOT EXISTS {p}chunks (
    hash       BLOB    NOT NULL PRIMARY KEY, -- SHA-256 of the data
    size       INTEGER NOT NULL,             -- bytes of the data
    touched_at INTEGER NOT NULL              -- microseconds, the clock of this partition; grows with each use
) WITHOUT ROWID;

-- The data of the chunks, apart, so that the use of a chunk does not write the data again.
CREATE TABLE IF NOT EXISTS {p}chunk_data (
    hash BLOB NOT NULL PRIMARY KEY, -- of a row of chunks
    data BLOB NOT NULL
);

-- One row a master that processes have reported to reach.
CREATE TABLE IF NOT EXISTS {p}reached (
    master  TEXT    NOT NULL PRIMARY KEY,
    reports INTEGER NOT NULL -- grows with each report
) WITHOUT ROWID;
