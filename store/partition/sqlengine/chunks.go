package sqlengine

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/runnelkv/runnel/store/partition"
)

// A transaction locks the row of chunks before the row of chunk_data, so that a PutChunk and a
// DropChunks of the same chunk run one after the other.
const (
	insertChunk     = `INSERT INTO {p}chunks (hash, size, touched_at) VALUES (?, ?, {now}) `
	insertChunkData = `INSERT INTO {p}chunk_data (hash, data) VALUES (?, ?) `
	selectChunkData = `SELECT data FROM {p}chunk_data WHERE hash = ?`
	touchChunks     = `UPDATE {p}chunks SET touched_at = CASE WHEN touched_at < {now} THEN {now} ELSE touched_at + 1 END WHERE hash IN `
	selectChunksIn  = `SELECT hash FROM {p}chunks WHERE hash IN `
	selectChunks    = `SELECT hash, size, touched_at FROM {p}chunks WHERE hash > ? ORDER BY hash LIMIT ?`
	deleteChunk     = `DELETE FROM {p}chunks WHERE hash = ? AND touched_at = ?`
	deleteChunkData = `DELETE FROM {p}chunk_data WHERE hash = ?`
)

// PutChunk implements partition.Chunks.
func (s *Engine) PutChunk(ctx context.Context, hash partition.ChunkHash, data []byte) error {
	if err := partition.CheckChunk(hash, data, s.MaxValueBytes()); err != nil {
		return s.wrap("put chunk", err)
	}
	return s.transactChunks(ctx, "put chunk", func(ctx context.Context, conn *Conn) error {
		_, err := conn.Exec(ctx, s.timed(insertChunk+s.sql.UpsertChunk), hash[:], int64(len(data)))
		if err == nil {
			_, err = conn.Exec(ctx, s.statement(insertChunkData+s.sql.UpsertChunkData), hash[:], data)
		}
		return err
	})
}

// transactChunks is transact for tables that hold chunks.
func (s *Engine) transactChunks(ctx context.Context, op string, f func(context.Context, *Conn) error) error {
	return s.transact(ctx, op, func(ctx context.Context, conn *Conn) error {
		if err := s.checkChunks(ctx, conn); err != nil {
			return err
		}
		return f(ctx, conn)
	})
}

// readChunks is read for tables that hold chunks. In a process with its database, it uses a connection of its own kind:
// chunks would push the entries out of the page caches of the reading connections.
func (s *Engine) readChunks(ctx context.Context, op string, f func(context.Context, *Conn) error) error {
	checked := func(ctx context.Context, c *Conn) error {
		if err := s.checkChunks(ctx, c); err != nil {
			return err
		}
		return f(ctx, c)
	}
	if !s.sql.InProcess {
		return s.read(ctx, op, checked)
	}
	ctx, done, err := s.begin(ctx, op)
	if err != nil {
		return err
	}
	defer done()
	c, err := s.dialect.Acquire(ctx, Streaming)
	if err == nil {
		defer c.Release()
		err = checked(ctx, c)
	}
	return s.wrap(op, err)
}

// checkChunks fails unless the tables hold chunks. Another process may have migrated the tables since
// they were read last.
func (s *Engine) checkChunks(ctx context.Context, c *Conn) error {
	if s.schema.Load().CheckChunks() == nil {
		return nil
	}
	schema, err := s.readSchema(connRows(ctx, c), true)
	if err == nil {
		err = schema.CheckChunks()
	}
	return err
}

// GetChunk implements partition.Chunks.
func (s *Engine) GetChunk(ctx context.Context, hash partition.ChunkHash, buffer []byte) (data []byte, err error) {
	err = s.readChunks(ctx, "get chunk", func(ctx context.Context, c *Conn) error {
		err := c.QueryRow(ctx, s.statement(selectChunkData), []any{hash[:]}, func(r Rows) { data = append(buffer[:0], r.Bytes(0)...) })
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("%w: %s", partition.ErrNoChunk, hash)
		}
		return err
	})
	return data, err
}

// TouchChunks implements partition.Chunks.
func (s *Engine) TouchChunks(ctx context.Context, hashes []partition.ChunkHash) (missing []partition.ChunkHash, err error) {
	if err := partition.CheckChunkCount(len(hashes)); err != nil {
		return nil, s.wrap("touch chunks", err)
	}
	if len(hashes) == 0 {
		return nil, nil
	}
	args := make([]any, len(hashes))
	for i := range hashes {
		args[i] = hashes[i][:]
	}
	held := make(map[partition.ChunkHash]bool, len(hashes))
	err = s.transactChunks(ctx, "touch chunks", func(ctx context.Context, conn *Conn) error {
		if _, err := conn.Exec(ctx, s.timed(touchChunks+Placeholders(len(hashes))), args...); err != nil {
			return err
		}
		clear(held)
		return conn.QueryRows(ctx, Statement{s.names.Replace(selectChunksIn) + Placeholders(len(hashes)), false}, args, func(r Rows) error {
			held[partition.ChunkHash(r.Bytes(0))] = true
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(hashes), func(h partition.ChunkHash) bool { return held[h] }), nil
}

// ListChunks implements partition.Chunks.
func (s *Engine) ListChunks(ctx context.Context, after *partition.ChunkHash, limit int) (infos []partition.ChunkInfo, err error) {
	if limit < 1 {
		return nil, s.wrap("list chunks", fmt.Errorf("limit %d", limit))
	}
	var from []byte
	if after != nil {
		from = after[:]
	}
	err = s.readChunks(ctx, "list chunks", func(ctx context.Context, c *Conn) error {
		infos = nil
		return c.QueryRows(ctx, s.statement(selectChunks), []any{append([]byte{}, from...), int64(limit)}, func(r Rows) error {
			infos = append(infos, partition.ChunkInfo{Hash: partition.ChunkHash(r.Bytes(0)), Size: r.Int(1), TouchedAt: partition.Instant(r.Int(2))})
			return nil
		})
	})
	return infos, err
}

// DropChunks implements partition.Chunks.
func (s *Engine) DropChunks(ctx context.Context, chunks []partition.ChunkInfo) (dropped int, err error) {
	if err := partition.CheckChunkCount(len(chunks)); err != nil {
		return 0, s.wrap("drop chunks", err)
	}
	err = s.transactChunks(ctx, "drop chunks", func(ctx context.Context, conn *Conn) error {
		dropped = 0
		for _, c := range chunks {
			n, err := conn.Exec(ctx, s.statement(deleteChunk), c.Hash[:], int64(c.TouchedAt))
			if err == nil && n > 0 {
				_, err = conn.Exec(ctx, s.statement(deleteChunkData), c.Hash[:])
				dropped++
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return dropped, nil
}
