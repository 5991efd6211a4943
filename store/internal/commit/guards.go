package commit

import (
	"slices"

	"github.com/runnelkv/runnel/store/internal/guard"
	"github.com/runnelkv/runnel/store/partition"
)

// SetFences lets the request succeed only while the locks of the fences are held with them. The keys of the locks become
// keys of the request, after its own.
func (u *Request) SetFences(fences []guard.Fence) {
	if len(fences) == 0 {
		return
	}
	u.fences = fences
	u.Keys = slices.Clone(u.Keys)
	for _, f := range fences {
		if k := guard.Key(f.Name); !slices.Contains(u.Keys, k) {
			u.Keys = append(u.Keys, k)
		}
	}
}

// needsLocks reports whether the batch must read locks whether or not the master has guards: a request checks a fence, or
// may acquire a lock that a later request of the batch meets.
func (b *batch) needsLocks(us []*Request) bool {
	return slices.ContainsFunc(us, func(u *Request) bool { return len(u.fences) > 0 || slices.ContainsFunc(u.Keys, guard.IsLock) })
}

// readLocks adds the locks that may protect the keys of the batch to its rows. A batch that reads locks decides.
func (b *batch) readLocks() {
	if b.locks {
		return
	}
	b.locks, b.decides = true, true
	for i := range b.rows {
		k := b.rows[i].key
		if guard.IsLock(k) {
			b.rows[i].value = true
			continue
		}
		lock := guard.KeyOf(k)
		if lock == "" {
			continue
		}
		if j, ok := b.at[lock]; ok {
			b.rows[j].value = true
			continue
		}
		b.at[lock] = len(b.rows)
		b.rows = append(b.rows, rowState{key: lock, value: true})
	}
}

// lockRow is the lock's row in the transaction.
func (b *batch) lockRow(k partition.Key) guard.Row {
	r := guard.Row{Self: b.origin, Now: b.claim.Now}
	if row := &b.rows[b.at[k]]; row.found {
		r.Entry = &row.entry
	}
	return r
}

// checkFences returns an error unless the request's fences are those of the holders.
func (b *batch) checkFences(u *Request) error {
	for _, f := range u.fences {
		if err := b.lockRow(guard.Key(f.Name)).CheckFence(f); err != nil {
			return err
		}
	}
	return nil
}

// checkLock returns an error if a lock protects the key against the request.
func (b *batch) checkLock(u *Request, k partition.Key) error {
	if !b.locks {
		return nil
	}
	lock := guard.KeyOf(k)
	if lock == "" {
		return nil
	}
	return b.lockRow(lock).CheckWrite(string(lock[len(partition.GuardsFrom):]), u.fences)
}
