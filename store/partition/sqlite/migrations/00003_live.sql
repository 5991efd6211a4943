-- +goose Up

-- For lists, which would go through every tombstone in their way.
CREATE INDEX {p}entries_by_live ON {p}entries ({key}) WHERE deleted = 0;

-- It begins with the origin, so that what has expired of other masters is not in the way of the sweep.
DROP INDEX {p}entries_by_expiry;
CREATE INDEX {p}entries_by_expiry ON {p}entries (origin, expires_at) WHERE expires_at IS NOT NULL;
