-- +goose Up

-- One row a key: its latest state, a tombstone included. Ordered by (origin, revision) it is the log.
CREATE TABLE {p}entries (
    {key}        BLOB    NOT NULL PRIMARY KEY, -- space, slash, name; ordered by its bytes
    origin       TEXT    NOT NULL,             -- the partition that was its master at the write
    revision     INTEGER NOT NULL,             -- epoch * 2^40 + n
    deleted      INTEGER NOT NULL,             -- 1: a tombstone
    content_type BLOB    NOT NULL,
    metadata     BLOB,                         -- JSON, or NULL
    modified_at  INTEGER NOT NULL,             -- microseconds, the master's clock
    expires_at   INTEGER,                      -- microseconds, or NULL: never
    checksum     INTEGER NOT NULL,             -- xxh3-64 of the value, as a signed number
    size         INTEGER NOT NULL,             -- bytes of the value
    value        BLOB    NOT NULL              -- last, so that heads never touch its overflow pages
);
CREATE UNIQUE INDEX {p}entries_by_revision ON {p}entries (origin, revision);

-- How far this partition has come with each origin; its own row is its revision counter.
CREATE TABLE {p}positions (
    origin    TEXT    NOT NULL PRIMARY KEY,
    revision  INTEGER NOT NULL, -- everything of the origin up to here is held
    goal      INTEGER NOT NULL, -- what a catch-up in several transactions is heading for
    synced_at INTEGER NOT NULL, -- microseconds, the origin's clock; 0: never whole yet
    collected INTEGER NOT NULL  -- tombstones up to here are gone
) WITHOUT ROWID;

-- One row: which cluster this partition belongs to, and who is master of what.
CREATE TABLE {p}cluster (
    id           INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    cluster_id   TEXT    NOT NULL,
    partition_id TEXT    NOT NULL,
    name         TEXT    NOT NULL, -- of this partition when it joined
    epoch        INTEGER NOT NULL,
    map          TEXT    NOT NULL  -- JSON: {"masters": [names], "slots": [index into masters]}
);

-- One row: who syncs into this partition.
CREATE TABLE {p}lease (
    id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    holder     TEXT    NOT NULL, -- empty: nobody
    fence      INTEGER NOT NULL, -- grows with every new holder
    expires_at INTEGER NOT NULL  -- microseconds, this partition's clock
);
INSERT INTO {p}lease (id, holder, fence, expires_at) VALUES (1, '', 0, 0);

-- One row: a counter whose increment makes everything before it durable.
CREATE TABLE {p}barrier (
    id      INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    counter INTEGER NOT NULL
);
INSERT INTO {p}barrier (id, counter) VALUES (1, 0);
