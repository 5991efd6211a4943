package store

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/routing"
	"github.com/runnelkv/runnel/store/partition"
)

// Options configures a Store. The zero value of a field means its default.
type Options struct {
	Partitions    []partition.Partition // in the order of the configuration, at least one; the store closes them
	Masters       []string              // names among Partitions; default: the first
	MaxKeyBytes   int                   // of the longest name of a key; default and maximum: MaxKeyBytes
	MaxValueBytes int64                 // of the largest value, default 15 MiB; a partition may accept less
	BatchEntries  int                   // most requests in a commit, default 1024
	BatchBytes    int64                 // most bytes of values in a commit, default 4 MiB; a larger value gets a commit of its own
	QueueEntries  int                   // most requests waiting for a master, default 16384; further ones fail with ErrMasterUnavailable
	Readers       int                   // concurrent statements of point reads on a partition, default 2
	Timeout       time.Duration         // of a database operation, default 5 s
	Poll          time.Duration         // how often health and positions are read, default 1 s
	Read          ReadChoice            // which qualifying partition is asked first, default ReadRandom
	Local         string                // for ReadLocal: the name of the partition
	SessionWait   time.Duration         // how long a session waits for a replica, default 250 ms; negative: sessions do not wait
	CacheBytes    int64                 // approximate memory of the cache of replicas' answers, default 0: no cache
	Quotas        []Quota               // of the keys of users; their prefixes are distinct
	MeasureEvery  time.Duration         // how often the use of the quotas is measured, default 1 min
	Promotes      bool                  // Run replaces lost masters by itself, if the cluster map allows that (SetFailover)
	Init          bool                  // found a cluster even if configured partitions cannot be reached
	Logger        *slog.Logger          // default slog.Default()
	BootClock     func() time.Duration  // counts the time during which the machine is suspended; default: the system's
	OnCommit      func()                // called after each commit that wrote an entry; must not block
	OnReach       func()                // called when a partition becomes usable, also after an outage; must not block
}

// ReadChoice says which of the partitions that may answer a read is asked first.
type ReadChoice string

const (
	ReadRandom  ReadChoice = "random"  // a random partition, which spreads the load evenly
	ReadNearest ReadChoice = "nearest" // the partition with the lowest recent latency
	ReadLocal   ReadChoice = "local"   // Options.Local
)

func (o Options) withDefaults() Options {
	o.MaxKeyBytes = cmp.Or(o.MaxKeyBytes, MaxKeyBytes)
	o.MaxValueBytes = cmp.Or(o.MaxValueBytes, 15<<20)
	o.BatchEntries = cmp.Or(o.BatchEntries, 1024)
	o.BatchBytes = cmp.Or(o.BatchBytes, 4<<20)
	o.QueueEntries = cmp.Or(o.QueueEntries, 16384)
	o.Readers = cmp.Or(o.Readers, 2)
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	o.Read = cmp.Or(o.Read, ReadRandom)
	o.SessionWait = cmp.Or(o.SessionWait, 250*time.Millisecond)
	o.Poll = cmp.Or(o.Poll, time.Second)
	o.MeasureEvery = cmp.Or(o.MeasureEvery, time.Minute)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	if o.OnCommit == nil {
		o.OnCommit = func() {}
	}
	if o.OnReach == nil {
		o.OnReach = func() {}
	}
	return o
}

func (o Options) checkRead() error {
	switch o.Read {
	case ReadRandom, ReadNearest:
		return nil
	case ReadLocal:
		if slices.ContainsFunc(o.Partitions, func(p partition.Partition) bool { return p.Name() == o.Local }) {
			return nil
		}
		return fmt.Errorf("local partition %q: %w", o.Local, backend.ErrUnknownPartition)
	}
	return fmt.Errorf("unknown read choice %q", o.Read)
}

// routing is the part of the options that chooses the partitions for reads.
func (o *Options) routing(background func(func()) bool) routing.Options {
	r := routing.Options{Timeout: o.Timeout, Poll: o.Poll, SessionWait: o.SessionWait, Nearest: o.Read == ReadNearest, Background: background}
	if o.Read == ReadLocal {
		r.Local = o.Local
	}
	return r
}
