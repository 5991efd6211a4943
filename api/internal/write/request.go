package write

import (
	"time"

	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
)

// Request is a decoded write of a key.
type Request struct {
	Entry      store.Entry
	TTL        time.Duration // 0: no expiry
	Conditions Conditions
	Fences     []store.Fence
	Session    store.Vector // of the client
}

// Unconditional reports that the write does not depend on the current entry, a lock or the master's clock.
func (p *Request) Unconditional() bool {
	return p.TTL == 0 && p.Conditions.empty() && len(p.Fences) == 0
}

// PutFunc returns the function for Store.Update.
func (p *Request) PutFunc(written *store.PutResult) func(*store.Tx) error {
	return func(v *store.Tx) error {
		exists, err := p.Conditions.evaluate(v, p.Entry.Key)
		if err != nil {
			return err
		}
		e := p.Entry
		if p.TTL > 0 {
			e.ExpiresAt = v.Now().Add(p.TTL)
		}
		*written = store.PutResult{Entry: v.Put(e), Created: !exists}
		return nil
	}
}

// TouchFunc returns the function for Store.Update.
func (p *Request) TouchFunc(touched *store.Entry) func(*store.Tx) error {
	return func(v *store.Tx) error {
		exists, err := p.Conditions.evaluate(v, p.Entry.Key)
		if err != nil {
			return err
		}
		if !exists {
			return &conditionError{store.ErrNotFound, v.Seen(p.Entry.Key)}
		}
		e, _ := v.Get(p.Entry.Key)
		if !e.Intact() {
			return problem.New(problem.NoPartition, "The master's copy of the value is damaged.")
		}
		e.ExpiresAt = v.Now().Add(p.TTL)
		*touched = v.Put(e)
		return nil
	}
}

// DeleteFunc returns the function for Store.Update that deletes key if the conditions hold.
func (c *Conditions) DeleteFunc(key store.Key, tombstone *store.Entry) func(*store.Tx) error {
	return func(v *store.Tx) error {
		current, exists := v.Get(key)
		if !exists { // even if the preconditions hold (RFC 9110, section 13.2.1)
			return &conditionError{store.ErrNotFound, v.Seen(key)}
		}
		if err := c.verify(&current, exists); err != nil {
			return &conditionError{err, v.Seen(key)}
		}
		*tombstone, _ = v.Delete(key)
		return nil
	}
}
