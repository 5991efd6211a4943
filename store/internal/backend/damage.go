package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// ErrDamaged: the copy of an entry on the partition that was asked cannot be served.
var ErrDamaged = errors.New("the stored entry does not match its checksum")

// GetIntact reads an entry through the batcher. A damaged value is reported, and an error.
func (b *Backend) GetIntact(ctx context.Context, k partition.Key, wait time.Duration) (partition.Entry, bool, error) {
	e, found, err := b.batcher.Lookup(ctx, k, wait)
	if err == nil && found && !e.Intact() {
		b.LogDamage(&e)
		return partition.Entry{}, false, fmt.Errorf("%s of %s: %w", k, b.Name(), ErrDamaged)
	}
	return e, found, err
}

// LogDamage logs a damaged entry of the backend, once, and passes the key on.
func (b *Backend) LogDamage(e *partition.Entry) {
	b.damages.logDamage(e)
	b.set.options.OnDamage(e.Key)
}

// damageLog logs each damaged entry of a backend once, however often it is read.
type damageLog struct {
	log *slog.Logger // names the partition

	mu       sync.Mutex // guards reported
	reported map[partition.Key]partition.Revision
}

// maxDamages bounds the entries that are remembered. Beyond it some are logged again.
const maxDamages = 10_000

func (d *damageLog) logDamage(e *partition.Entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if revision, ok := d.reported[e.Key]; ok && revision == e.Revision {
		return
	}
	if len(d.reported) >= maxDamages || d.reported == nil {
		d.reported = make(map[partition.Key]partition.Revision)
	}
	d.reported[e.Key] = e.Revision
	d.log.Error("damaged entry: the stored entry does not match its checksum; other copies are read in its place",
		"key", string(e.Key), "revision", int64(e.Revision))
}
