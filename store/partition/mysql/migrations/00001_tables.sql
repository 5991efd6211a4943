-- +goose NO TRANSACTION
-- +goose Up

CREATE TABLE IF NOT EXISTS {p}entries (
    {key}        VARBINARY(1024) NOT NULL COMMENT 'space, slash, name; ordered by its bytes',
    origin       VARBINARY(64)   NOT NULL COMMENT 'the partition that was its master at the write',
    revision     BIGINT          NOT NULL COMMENT 'epoch * 2^40 + n',
    deleted      TINYINT         NOT NULL COMMENT '1: a tombstone',
    content_type VARBINARY(1024) NOT NULL,
    metadata     MEDIUMBLOB      NULL     COMMENT 'JSON, or NULL',
    modified_at  BIGINT          NOT NULL COMMENT 'microseconds, the clock of the master',
    expires_at   BIGINT          NULL     COMMENT 'microseconds, or NULL: never',
    checksum     BIGINT          NOT NULL COMMENT 'xxh3-64 of the value, as a signed number',
    size         BIGINT          NOT NULL COMMENT 'bytes of the value',
    value        LONGBLOB        NOT NULL,
    PRIMARY KEY ({key}),
    UNIQUE KEY by_revision (origin, revision)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'One row a key: its latest state, tombstones included; by (origin, revision) it is the log';

CREATE TABLE IF NOT EXISTS {p}positions (
    origin    VARBINARY(64) NOT NULL,
    revision  BIGINT        NOT NULL COMMENT 'everything of the origin up to here is held',
    goal      BIGINT        NOT NULL COMMENT 'what a catch-up in several transactions is heading for',
    synced_at BIGINT        NOT NULL COMMENT 'microseconds, the clock of the origin; 0: never whole yet',
    collected BIGINT        NOT NULL COMMENT 'tombstones up to here are gone',
    PRIMARY KEY (origin)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'How far this partition has come with each origin; its own row is its revision counter';

CREATE TABLE IF NOT EXISTS {p}cluster (
    id           TINYINT       NOT NULL COMMENT 'always 1',
    cluster_id   VARCHAR(64)   NOT NULL,
    partition_id VARCHAR(64)   NOT NULL,
    name         VARBINARY(64) NOT NULL COMMENT 'of this partition when it joined',
    epoch        BIGINT        NOT NULL,
    map          LONGBLOB      NOT NULL COMMENT 'JSON: {"masters": [names], "slots": [index into masters]}',
    PRIMARY KEY (id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'One row: which cluster this partition belongs to, and who is master of what';

CREATE TABLE IF NOT EXISTS {p}lease (
    id         TINYINT        NOT NULL COMMENT 'always 1',
    holder     VARBINARY(255) NOT NULL COMMENT 'empty: nobody',
    fence      BIGINT         NOT NULL COMMENT 'grows with every new holder',
    expires_at BIGINT         NOT NULL COMMENT 'microseconds, the clock of this partition',
    PRIMARY KEY (id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'One row: who syncs into this partition';

INSERT IGNORE INTO {p}lease (id, holder, fence, expires_at) VALUES (1, '', 0, 0);

CREATE TABLE IF NOT EXISTS {p}barrier (
    id      TINYINT NOT NULL COMMENT 'always 1',
    counter BIGINT  NOT NULL,
    PRIMARY KEY (id)
) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin
  COMMENT = 'One row: a counter whose increment makes everything before it durable';

INSERT IGNORE INTO {p}barrier (id, counter) VALUES (1, 0);
