-- +goose Up

-- For the sweep of expired entries. Those that never expire are not in it, so that they cost nothing.
CREATE INDEX {p}entries_by_expiry ON {p}entries (expires_at) WHERE expires_at IS NOT NULL;
