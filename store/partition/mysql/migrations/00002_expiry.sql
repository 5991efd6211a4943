-- +goose NO TRANSACTION
-- +goose Up

-- For the sweep of expired entries. MySQL knows no ADD INDEX IF NOT EXISTS, and a migration may have been cut short.
-- +goose StatementBegin
SET @add = IF((SELECT COUNT(*) FROM information_schema.statistics
               WHERE table_schema = DATABASE() AND table_name = '{p}entries' AND index_name = 'by_expiry') = 0,
              'ALTER TABLE {p}entries ADD INDEX by_expiry (expires_at)', 'DO 0');
PREPARE add_index FROM @add;
EXECUTE add_index;
DEALLOCATE PREPARE add_index;
-- +goose StatementEnd
