-- +goose Up

-- One row: the ballots that order the maps which are proposed to this partition.
CREATE TABLE IF NOT EXISTS {p}ballots (
    id       INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    promised INTEGER NOT NULL, -- the highest ballot that was heard of; 0: none
    accepted INTEGER NOT NULL, -- the ballot of the map in the table cluster
    chosen   INTEGER NOT NULL  -- the highest ballot that a majority of the voters is known to have accepted
);
INSERT OR IGNORE INTO {p}ballots (id, promised, accepted, chosen) VALUES (1, 0, 0, 0);
