package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// DirectOperation is an operation of a system without HTTP, which this process measures as the layer below all
// other systems. Calls are concurrent.
type DirectOperation func(ctx context.Context, key int, stamp uint64) error

// startBare starts the system of MariaDB without a server in front: prepared statements of database/sql, in
// autocommit, on the table of plain.
func (s *Testbed) startBare(ctx context.Context) (*System, error) {
	db, err := s.OpenDatabase(ctx, s.Database, plainDatabase)
	if err != nil {
		return nil, err
	}
	p, err := preparePlain(ctx, db)
	if err != nil {
		return nil, err
	}
	get := func(ctx context.Context, key int, _ uint64) error {
		var value []byte
		err := p.get.QueryRowContext(ctx, fmt.Sprintf(KeyPrefix+"%08d", key)).Scan(&value)
		if err == nil && len(value) != 100 {
			err = fmt.Errorf("a value of %d bytes", len(value))
		}
		return err
	}
	put := func(ctx context.Context, key int, stamp uint64) error {
		_, err := p.put.ExecContext(ctx, fmt.Sprintf(KeyPrefix+"%08d", key), fmt.Sprintf("%0100d", stamp))
		return err
	}
	return &System{Processes: []*Process{s.Database.process}, Direct: map[string]DirectOperation{"get": get, "put": put}}, nil
}

// StartDisk starts the system of the disk below all others: 100 bytes appended to a file and synced, by a single
// writer.
func (s *Testbed) StartDisk(context.Context) (*System, error) {
	var mu sync.Mutex
	file, err := os.Create(filepath.Join(s.Dir, "fsync"))
	if err != nil {
		return nil, err
	}
	block := []byte(strings.Repeat("x", 100))
	return &System{Direct: map[string]DirectOperation{"put": func(context.Context, int, uint64) error {
		mu.Lock()
		defer mu.Unlock()
		_, err := file.Write(block)
		return errors.Join(err, file.Sync())
	}}}, nil
}
