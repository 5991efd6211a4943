package files

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/runnelkv/runnel/store"
)

// leaseKey is the entry of the lease.
var leaseKey = store.Space("sys").Key("files")

// lease is the value of the entry.
type lease struct {
	Holder    string        `json:"holder"`
	ExpiresAt store.Instant `json:"expires_at"` // by the clock of the key's master
}

// errStandby: another process holds the lease.
var errStandby = errors.New("another process keeps the chunks of files")

// acquire takes or renews the lease for two intervals.
func (k *Keeper) acquire(ctx context.Context) error {
	err := k.changeLease(ctx, func(l *lease, now store.Instant) error {
		length := 2 * k.options.Interval
		if l.Holder != k.options.Holder && now < l.ExpiresAt && l.ExpiresAt <= now.Add(2*length) { // or the clock was set back
			return errStandby
		}
		*l = lease{k.options.Holder, now.Add(length)}
		return nil
	})
	if err == nil {
		k.renewed = time.Now()
	}
	return err
}

// release gives the lease up, so that another process takes over at once.
func (k *Keeper) release(ctx context.Context) {
	k.working.Lock()
	defer k.working.Unlock()
	if k.renewed.IsZero() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookEvery)
	defer cancel()
	err := k.changeLease(ctx, func(l *lease, now store.Instant) error {
		if l.Holder != k.options.Holder {
			return errStandby
		}
		*l = lease{}
		return nil
	})
	if err != nil {
		k.log.Debug("the lease of files was not released", "error", err)
	}
}

// changeLease changes the entry of the lease in an Update.
func (k *Keeper) changeLease(ctx context.Context, change func(l *lease, now store.Instant) error) error {
	return k.store.Update(ctx, []store.Key{leaseKey}, store.UpdateOptions{}, func(tx *store.Tx) error {
		var l lease
		if e, found := tx.Get(leaseKey); found {
			if err := json.Unmarshal(e.Value, &l); err != nil {
				l = lease{} // damaged: anybody may take it
			}
		}
		if err := change(&l, tx.Now()); err != nil {
			return err
		}
		value, err := json.Marshal(l)
		if err != nil {
			return err
		}
		tx.Put(store.Entry{Key: leaseKey, ContentType: "application/json", Value: value})
		return nil
	})
}
