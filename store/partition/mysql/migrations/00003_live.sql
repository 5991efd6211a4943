-- +goose NO TRANSACTION
-- +goose Up

-- by_live: for lists, which would go through every tombstone in their way. by_expiry begins with the origin, so that what has
-- expired of other masters is not in the way of the sweep. Both are built while the table is read and written.
-- +goose StatementBegin
SET @add = IF((SELECT COUNT(*) FROM information_schema.statistics
               WHERE table_schema = DATABASE() AND table_name = '{p}entries' AND index_name = 'by_live') = 0,
              'ALTER TABLE {p}entries ADD INDEX by_live (deleted, {key}), DROP INDEX by_expiry, ADD INDEX by_expiry (origin, expires_at), ALGORITHM = INPLACE, LOCK = NONE', 'DO 0');
PREPARE add_index FROM @add;
EXECUTE add_index;
DEALLOCATE PREPARE add_index;
-- +goose StatementEnd
