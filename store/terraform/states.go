package terraform

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/lock"
)

// The bounds and the default of Options.Keep.
const (
	DefaultKeep = 20
	MaxKeep     = 1000
)

// States are the states in a store. The methods are safe for concurrent use.
type States struct {
	store Store
	locks *lock.Locks
	keep  int
}

// Store is the part of *store.Store that states use.
type Store interface {
	CheckName(name string) error
	MaxValueBytes() int64
	Get(ctx context.Context, k store.Key, o store.ReadOptions) (store.Read, error)
	List(ctx context.Context, o store.ListOptions) (store.Page, error)
	Update(ctx context.Context, keys []store.Key, o store.UpdateOptions, fn func(*store.Tx) error) error
}

// New returns the states in a store, with the locks of the same store. The last keep versions of each state are kept, the present
// version among them: 1 to MaxKeep, and 0 for DefaultKeep.
func New(s Store, locks *lock.Locks, keep int) *States {
	if keep == 0 {
		keep = DefaultKeep
	}
	return &States{store: s, locks: locks, keep: min(max(keep, 1), MaxKeep)}
}

// errUnchanged ends an Update that has nothing to write.
var errUnchanged = errors.New("nothing changes")

const (
	// maxDropped bounds the old versions that are deleted by the Update of a new version, which reads them.
	maxDropped = 2
	// recordBytes is about the size of a record's line.
	recordBytes = 300
)

// fromMaster are the options of every read.
var fromMaster = store.ReadOptions{Consistency: store.FromMaster}

// PutOptions says under which conditions a state is stored.
type PutOptions struct {
	LockID string // of the lock that the writer holds; "" without a lock
	Force  bool   // the state may have any lineage and serial
}

// Put stores the next version of a state. isNew is false if the same text stands already. A *store.KeyError, *store.TooLargeError,
// *ConflictError, *LostError, or, while another lock is held, a *store.LockedError: nothing was stored.
func (s *States) Put(ctx context.Context, name string, st *State, o PutOptions) (v Version, isNew bool, err error) {
	if err := s.checkName(name); err != nil {
		return v, false, err
	}
	if limit := s.store.MaxValueBytes(); int64(len(st.Text)) > limit {
		return v, false, &store.TooLargeError{Limit: limit}
	}
	known, err := s.read(ctx, name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return v, false, err
	}
	next, old := st.version(), known.beyond(name, s.keep-1, maxDropped)
	options := store.UpdateOptions{Bytes: int64(len(st.Text) + recordBytes*(len(known.Versions)+1)), Appends: 1}
	err = s.update(ctx, name, o.LockID, old, options, func(tx *store.Tx, r *record) error {
		same, err := r.isFollowedBy(&next)
		if _, isConflict := errors.AsType[*ConflictError](err); isConflict && o.Force {
			same, err = false, nil
		}
		if err != nil {
			return err
		}
		if isNew = !same; same {
			v = r.Versions[0]
			return errUnchanged
		}
		e := tx.Append(versionPrefix(name), store.Entry{ContentType: "application/json", Value: st.Text})
		v = next
		v.ID, v.At = e.Revision, e.ModifiedAt
		s.addVersion(tx, r, name, v, old)
		return lock.RenewIn(tx, name)
	})
	return v, isNew, err
}

// addVersion adds a version to the record. Of the versions that are too old, those whose keys are declared, old, are deleted.
func (s *States) addVersion(tx *store.Tx, r *record, name string, v Version, old []store.Key) {
	r.Deleted, r.Versions = false, slices.Insert(r.Versions, 0, v)
	for i := len(r.Versions) - 1; i >= s.keep; i-- {
		if k := versionKey(name, r.Versions[i].ID); slices.Contains(old, k) {
			tx.Delete(k)
			r.Versions = slices.Delete(r.Versions, i, i+1)
		}
	}
}

// Delete deletes the version that stands. The versions are kept, as old versions. The errors are those of Put, and store.ErrNotFound:
// no version stands.
func (s *States) Delete(ctx context.Context, name, lockID string) (v Version, err error) {
	if err := s.checkName(name); err != nil {
		return v, err
	}
	err = s.update(ctx, name, lockID, nil, store.UpdateOptions{Bytes: recordBytes}, func(_ *store.Tx, r *record) error {
		old := r.standing()
		if old == nil {
			return store.ErrNotFound
		}
		v, r.Deleted = *old, true
		return nil
	})
	return v, err
}

// Forget deletes all versions of a state that was deleted, so that nothing of the state is left. A repetition has the same
// effect. The errors are those of Put, and *StandingError: a version stands.
func (s *States) Forget(ctx context.Context, name, lockID string) error {
	if err := s.checkName(name); err != nil {
		return err
	}
	for {
		known, err := s.read(ctx, name)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		} else if err != nil {
			return err
		}
		old := known.beyond(name, 0, maxDropped)
		err = s.update(ctx, name, lockID, old, store.UpdateOptions{Bytes: recordBytes}, func(tx *store.Tx, r *record) error {
			if r.standing() != nil {
				return &StandingError{Name: name}
			}
			for _, k := range old {
				tx.Delete(k)
			}
			r.Versions = slices.DeleteFunc(r.Versions, func(v Version) bool { return slices.Contains(old, versionKey(name, v.ID)) })
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// update runs f on the record of a name, with more declared keys, and writes the record, unless f returns errUnchanged. A record
// without versions is deleted.
func (s *States) update(ctx context.Context, name, lockID string, more []store.Key, o store.UpdateOptions, f func(*store.Tx, *record) error) error {
	key := records.Key(name)
	keys := append([]store.Key{key, store.Lock.Key(name)}, more...)
	err := s.store.Update(ctx, keys, o, func(tx *store.Tx) error {
		if err := admit(tx, name, lockID); err != nil {
			return err
		}
		var r record
		if e, found := tx.Get(key); found {
			var err error
			if r, err = decodeRecord(&e); err != nil {
				return err
			}
		}
		if err := f(tx, &r); err != nil {
			return err
		}
		if len(r.Versions) == 0 {
			tx.Delete(key)
			return nil
		}
		e, err := r.entry(name)
		if err == nil {
			tx.Put(e)
		}
		return err
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// read returns the record of a name. store.ErrNotFound: there is none.
func (s *States) read(ctx context.Context, name string) (record, error) {
	read, err := s.store.Get(ctx, records.Key(name), fromMaster)
	if err != nil {
		return record{}, err
	}
	return decodeRecord(&read.Entry)
}

// Get returns a version of a state with its text; id 0 is the version that stands. Before the text is read, reserve is called with
// the number of its bytes. store.ErrNotFound: no version stands, or the version of the id is not kept. An error of reserve is
// returned unchanged.
func (s *States) Get(ctx context.Context, name string, id store.Revision, reserve func(bytes int64) error) (v Version, text []byte, err error) {
	if err := s.checkName(name); err != nil {
		return v, nil, err
	}
	const attempts = 3 // between the two reads, newer versions may take the place of the version that stood
	for range attempts {
		r, err := s.read(ctx, name)
		if err != nil {
			return v, nil, err
		}
		wanted := r.standing()
		if id != 0 {
			wanted = r.find(id)
		}
		if wanted == nil {
			return v, nil, store.ErrNotFound
		}
		if err := reserve(wanted.Size); err != nil {
			return v, nil, err
		}
		read, err := s.store.Get(ctx, versionKey(name, wanted.ID), fromMaster)
		if err == nil {
			return *wanted, read.Entry.Value, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return v, nil, err
		}
	}
	if id != 0 {
		return v, nil, store.ErrNotFound
	}
	return v, nil, fmt.Errorf("the text of the state %q is missing", name)
}

// History returns the kept versions of a state, the newest first, and whether the newest version stands. store.ErrNotFound: there
// are none.
func (s *States) History(ctx context.Context, name string) (kept []Version, stands bool, err error) {
	if err := s.checkName(name); err != nil {
		return nil, false, err
	}
	r, err := s.read(ctx, name)
	return r.Versions, r.standing() != nil, err
}

// Line is a state in a list.
type Line struct {
	Name    string
	Version Version // that stands
	Kept    int     // versions
}

// List returns a page of the states that stand, in the order of their names, as a partition knows them that answers reads. Deleted
// states are left out, so that a page may have fewer lines than o.Limit. page.Next is the After of the next page.
func (s *States) List(ctx context.Context, o store.ListOptions) (lines []Line, page store.Page, err error) {
	o.Space, o.Values = records, true
	if page, err = s.store.List(ctx, o); err != nil {
		return nil, page, err
	}
	for i := range page.Entries {
		e := &page.Entries[i]
		r, err := decodeRecord(e)
		if err != nil {
			return nil, page, err
		}
		if v := r.standing(); v != nil {
			lines = append(lines, Line{Name: store.Name(e.Key), Version: *v, Kept: len(r.Versions)})
		}
	}
	return lines, page, nil
}
