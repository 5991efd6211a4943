-- +goose NO TRANSACTION
-- +goose Up

-- The row of a migration that was cut short remains.
CREATE TABLE IF NOT EXISTS {p}ballots (
    id       TINYINT NOT NULL COMMENT 'always 1',
    promised BIGINT  NOT NULL COMMENT 'the highest ballot that was heard of; 0: none',
    accepted BIGINT  NOT NULL COMMENT 'the ballot of the map in the table cluster',
    chosen   BIGINT  NOT NULL COMMENT 'the highest ballot that a majority of the voters is known to have accepted',
    PRIMARY KEY (id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'One row: the ballots that order the maps which are proposed to this partition';

INSERT IGNORE INTO {p}ballots (id, promised, accepted, chosen) VALUES (1, 0, 0, 0);

-- MySQL knows no ADD COLUMN IF NOT EXISTS, and a migration may have been cut short.
-- +goose StatementBegin
SET @add = IF((SELECT COUNT(*) FROM information_schema.columns
               WHERE table_schema = DATABASE() AND table_name = '{p}positions' AND column_name = 'guarded') = 0,
              'ALTER TABLE {p}positions ADD COLUMN guarded BIGINT NOT NULL DEFAULT 0 COMMENT ''in the own row: how many guards the master has''', 'DO 0');
PREPARE add_column FROM @add;
EXECUTE add_column;
DEALLOCATE PREPARE add_column;
-- +goose StatementEnd

CREATE TABLE IF NOT EXISTS {p}chunks (
    hash       BINARY(32) NOT NULL COMMENT 'SHA-256 of the data',
    size       INT        NOT NULL COMMENT 'bytes of the data',
    touched_at BIGINT     NOT NULL COMMENT 'microseconds, the clock of this partition; grows with each use',
    PRIMARY KEY (hash)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'One row a chunk of files: content-addressed, outside entries and positions';

CREATE TABLE IF NOT EXISTS {p}chunk_data (
    hash BINARY(32) NOT NULL COMMENT 'of a row of chunks',
    data MEDIUMBLOB NOT NULL,
    PRIMARY KEY (hash)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'The data of the chunks, apart, so that the use of a chunk does not write the data again';

CREATE TABLE IF NOT EXISTS {p}reached (
    master  VARBINARY(64) NOT NULL,
    reports BIGINT        NOT NULL COMMENT 'grows with each report',
    PRIMARY KEY (master)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'One row a master that processes have reported to reach';
