-- +goose NO TRANSACTION
-- +goose Up

-- The row of a migration that was cut short remains. This table records the versions from 4 on; schema_version has those
-- before, for binaries that read schema_version only.
CREATE TABLE IF NOT EXISTS {p}compat (
    id            TINYINT NOT NULL COMMENT 'always 1',
    version       INT     NOT NULL COMMENT 'of the tables',
    oldest_reader INT     NOT NULL COMMENT 'the schema version of the oldest binary that may use the partition',
    oldest_writer INT     NOT NULL COMMENT 'the schema version of the oldest binary that may write to the partition',
    PRIMARY KEY (id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'One row: the version of the tables, and the binaries that may use them';

INSERT IGNORE INTO {p}compat (id, version, oldest_reader, oldest_writer) VALUES (1, 3, 3, 3);
