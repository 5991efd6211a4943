package backend

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend/boottime"
	"github.com/runnelkv/runnel/store/internal/broadcast"
	"github.com/runnelkv/runnel/store/partition"
)

// Set holds a backend for each configured partition. Its methods are safe for concurrent use.
type Set struct {
	options Options
	changed broadcast.Channel // of the observed positions of any backend

	exact    bool       // the boot clock is given, and no other clock counts
	began    time.Time  // when the set was made
	adding   sync.Mutex // serialises add
	backends atomic.Pointer[[]*Backend]
}

// Options configures the backends of a set.
type Options struct {
	Timeout       time.Duration // of a database operation
	Poll          time.Duration // how often health and positions are read
	Readers       int           // concurrent statements of point reads on a partition
	MaxValueBytes int64         // a partition that accepts less gets a warning
	Logger        *slog.Logger
	// BootClock is a clock that counts the time during which the machine is suspended, since any moment; nil: the system's.
	BootClock func() time.Duration
	// HasLease reports whether this process may commit and answer for masters; nil: always.
	HasLease func() bool

	// Callbacks, which must not block; nil: none.
	OnReach     func()                                    // a partition has become usable
	OnPositions func(name string, p *partition.Positions) // the observed positions of a partition have changed
	OnLoss      func()                                    // a partition holds less than was observed before
	OnDamage    func(partition.Key)                       // a partition holds a damaged row of the key
}

// NewSet makes an empty set.
func NewSet(o Options) *Set {
	exact := o.BootClock != nil
	if !exact {
		o.BootClock = boottime.Now
	}
	if o.HasLease == nil {
		o.HasLease = func() bool { return true }
	}
	if o.OnReach == nil {
		o.OnReach = func() {}
	}
	if o.OnPositions == nil {
		o.OnPositions = func(string, *partition.Positions) {}
	}
	if o.OnDamage == nil {
		o.OnDamage = func(partition.Key) {}
	}
	if o.OnLoss == nil {
		o.OnLoss = func() {}
	}
	s := &Set{options: o, exact: exact, began: time.Now()}
	s.backends.Store(new([]*Backend))
	return s
}

// Add adds a backend. The name of the partition must be new.
func (s *Set) Add(p partition.Partition) (*Backend, error) {
	s.adding.Lock()
	defer s.adding.Unlock()
	if s.Named(p.Name()) != nil {
		return nil, fmt.Errorf("two partitions are named %s", p.Name())
	}
	b := newBackend(p, s)
	backends := append(slices.Clone(s.All()), b)
	s.backends.Store(&backends)
	return b, nil
}

// All lists the backends in the order of the configuration. The caller does not modify the list.
func (s *Set) All() []*Backend { return *s.backends.Load() }

// Named returns the backend of the named partition, or nil.
func (s *Set) Named(name string) *Backend {
	for _, b := range s.All() {
		if b.Name() == name {
			return b
		}
	}
	return nil
}

// IsWithin reports whether less than a duration has passed since a moment, by the clock that counts suspended time. That clock
// costs a system call, so it is only read if the usual clocks leave a doubt.
func (s *Set) IsWithin(since Moment, d time.Duration) bool {
	if !s.exact {
		now := time.Now()
		if isSurelyWithin(now.Sub(since.Clock), now.Round(0).Sub(since.Clock.Round(0)), d) {
			return true
		}
	}
	return since.Boot > 0 && s.options.BootClock() < since.Boot+d
}

// BootNow is the present moment by the clock that counts suspended time.
func (s *Set) BootNow() time.Duration { return s.options.BootClock() }

// isSurelyWithin reports whether less than d has passed, by the monotonic clock, which stands still while the machine is
// suspended, and by the clock of the day, which can be set. A clock of the day that was set back decides nothing.
func isSurelyWithin(monotonic, day, d time.Duration) bool {
	return max(monotonic, day) < d && day > monotonic-50*time.Millisecond
}

// PositionsChanged returns a channel that is closed when the observed positions of any backend change.
func (s *Set) PositionsChanged() <-chan struct{} { return s.changed.Next() }
