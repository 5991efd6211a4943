-- +goose Up

-- One row: the version of the tables, and the binaries that may use them. This table records the versions from 4 on;
-- schema_version has those before, for binaries that read schema_version only.
CREATE TABLE IF NOT EXISTS {p}compat (
    id            INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    version       INTEGER NOT NULL, -- of the tables
    oldest_reader INTEGER NOT NULL, -- the schema version of the oldest binary that may use the partition
    oldest_writer INTEGER NOT NULL  -- the schema version of the oldest binary that may write to the partition
);
INSERT OR IGNORE INTO {p}compat (id, version, oldest_reader, oldest_writer) VALUES (1, 3, 3, 3);
