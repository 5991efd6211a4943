package store

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// Options is how a Store is made. The zero value of a field means its default.
type Options struct {
	Partitions    []partition.Partition // in the order of the configuration, at least one; the store closes them
	Masters       []string              // names among Partitions; default: the first
	MaxKeyBytes   int                   // default and most: MaxKeyBytes
	MaxValueBytes int64                 // default 15 MiB; a partition may accept less
	BatchEntries  int                   // most updates in one commit, default 1024
	BatchBytes    int64                 // most bytes of values in one commit, default 4 MiB; one larger value goes alone
	QueueEntries  int                   // most updates waiting for one master, default 16384; beyond, ErrMasterUnavailable
	Readers       int                   // concurrent point reads of one partition, default 2
	Timeout       time.Duration         // bound of one database operation, default 5 s
	Poll          time.Duration         // how often health and positions are read, default 1 s
	Read          ReadChoice            // who is asked first among those that qualify, default ReadRandom
	Local         string                // for ReadLocal: the name of the partition
	SessionWait   time.Duration         // how long a session waits for a replica, default 250 ms; negative: not at all
	CacheBytes    int64                 // about how much of what replicas answered is kept in memory, default nothing
	Init          bool                  // found a cluster even while configured partitions cannot be reached
	Logger        *slog.Logger          // default slog.Default()
	OnCommit      func()                // called after each commit that wrote something; must not block
	OnReach       func()                // called when a partition becomes usable, for the first time or again; must not block

	onPositions       func()                 // called when more is known of positions
	onReplicaPosition func(Origin, Revision) // called when a replica was seen to hold so much of an origin
}

// ReadChoice is who is asked first among the partitions that may answer a read.
type ReadChoice string

const (
	ReadRandom  ReadChoice = "random"  // any of them: they are loaded alike
	ReadNearest ReadChoice = "nearest" // the one that has answered fastest lately
	ReadLocal   ReadChoice = "local"   // Options.Local
)

func (o Options) withDefaults() Options {
	o.MaxKeyBytes = defaultTo(o.MaxKeyBytes, MaxKeyBytes)
	o.MaxValueBytes = defaultTo(o.MaxValueBytes, 15<<20)
	o.BatchEntries = defaultTo(o.BatchEntries, 1024)
	o.BatchBytes = defaultTo(o.BatchBytes, 4<<20)
	o.QueueEntries = defaultTo(o.QueueEntries, 16384)
	o.Readers = defaultTo(o.Readers, 2)
	o.Timeout = defaultTo(o.Timeout, 5*time.Second)
	o.Read = defaultTo(o.Read, ReadRandom)
	o.SessionWait = defaultTo(o.SessionWait, 250*time.Millisecond)
	o.Poll = defaultTo(o.Poll, time.Second)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.onPositions == nil {
		o.onPositions = func() {}
	}
	if o.onReplicaPosition == nil {
		o.onReplicaPosition = func(Origin, Revision) {}
	}
	if o.OnCommit == nil {
		o.OnCommit = func() {}
	}
	if o.OnReach == nil {
		o.OnReach = func() {}
	}
	return o
}

func defaultTo[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

func (o Options) checkRead() error {
	switch o.Read {
	case ReadRandom, ReadNearest:
		return nil
	case ReadLocal:
		if slices.ContainsFunc(o.Partitions, func(p partition.Partition) bool { return p.Name() == o.Local }) {
			return nil
		}
		return fmt.Errorf("local partition %q: %w", o.Local, ErrUnknownPartition)
	}
	return fmt.Errorf("%q is no way to choose who is read from", o.Read)
}
