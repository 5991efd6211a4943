-- +goose NO TRANSACTION
-- +goose Up

-- From this version on, the column checksum of entries has a row checksum once older binaries are shut out. The row of a
-- migration that was cut short remains.
CREATE TABLE IF NOT EXISTS {p}verification (
    id          TINYINT         NOT NULL COMMENT 'always 1',
    verified_at BIGINT          NOT NULL COMMENT 'microseconds, the clock of the process; 0: never',
    began_at    BIGINT          NOT NULL COMMENT 'of the verification that is under way; 0: none',
    deep        TINYINT         NOT NULL COMMENT '1: it reads the values too',
    next_key    VARBINARY(1024) NOT NULL COMMENT 'first key that it has not compared',
    compared    BIGINT          NOT NULL COMMENT 'rows that it has compared',
    differences BIGINT          NOT NULL COMMENT 'rows that it has listed',
    PRIMARY KEY (id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'One row: how far a verification has come, and when this partition was last verified in full';

INSERT IGNORE INTO {p}verification (id, verified_at, began_at, deep, next_key, compared, differences) VALUES (1, 0, 0, 0, '', 0, 0);

-- The table of version 5, which databases of an earlier version 5 lack.
CREATE TABLE IF NOT EXISTS {p}reached (
    master  VARBINARY(64) NOT NULL,
    reports BIGINT        NOT NULL COMMENT 'grows with each report',
    PRIMARY KEY (master)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'One row a master that processes have reported to reach';
