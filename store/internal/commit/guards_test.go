package commit

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/runnelkv/runnel/store/internal/guard"
	"github.com/runnelkv/runnel/store/partition"
)

// TestLockProtectsAgainstWritesOfItsOwnCommit: an acquisition and a blind write share a commit, in their order.
func TestLockProtectsAgainstWritesOfItsOwnCommit(t *testing.T) {
	for _, first := range []string{"lock", "write"} {
		c, p := newTestCommitter(t, Options{})
		if err := p.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		acquire := func() *Request {
			return queued(t, c, &Request{Keys: []partition.Key{"lock/a"}, fn: func(v *Tx) error {
				value, err := json.Marshal(guard.Holder{Owner: "one", Fence: 1, ExpiresAt: v.Now() + 60_000_000, Protects: true})
				v.Put(partition.Entry{Key: "lock/a", ContentType: partition.GuardContentType, Value: value})
				return err
			}})
		}
		var lock, write *Request
		if first == "lock" {
			lock = acquire()
		}
		write = queued(t, c, &Request{Keys: []partition.Key{"k/a"}, entry: partition.Entry{Key: "k/a", Checksum: partition.Checksum(nil)}})
		if first == "write" {
			lock = acquire()
		}
		c.commitQueued()
		if err := outcome(lock); err != nil {
			t.Fatal(err)
		}
		err := outcome(write)
		if _, locked := errors.AsType[*guard.LockedError](err); locked != (first == "lock") || !locked && err != nil {
			t.Errorf("with the %s first the write ended with %v", first, err)
		}
	}
}
