package backup

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runnelkv/runnel/store/partition"
)

// Header is the beginning of a backup.
type Header struct {
	ID        string    `json:"id"`                 // of the backup: 128 random bits in hex
	Since     string    `json:"since,omitempty"`    // ID of the base of an incremental backup
	CreatedAt time.Time `json:"created_at"`         // the partition's clock at the moment of the view
	Version   string    `json:"version"`            // of the program
	Contents  bool      `json:"contents,omitempty"` // the chunks of the files of all entries follow the blocks

	// The partition and its cluster row.
	ClusterID   string          `json:"cluster_id"`
	Partition   string          `json:"partition"`
	PartitionID string          `json:"partition_id"`
	Kind        string          `json:"kind"`
	Epoch       int64           `json:"epoch"`
	Masters     []string        `json:"masters"`
	Slots       []uint16        `json:"slots"`
	Ends        []partition.End `json:"ends,omitempty"`

	Epochs map[string]int64 `json:"epochs,omitempty"`
	Voters []string         `json:"voters,omitempty"`
	Moves  []partition.Move `json:"moves,omitempty"`

	Origins []Origin `json:"origins"` // in the order of the blocks, which is that of the names
}

// Origin is a position of the partition.
type Origin struct {
	Name      partition.Origin   `json:"name"`
	Since     partition.Revision `json:"since"` // position of the base: the backup holds later entries only; 0: all entries
	Revision  partition.Revision `json:"revision"`
	Goal      partition.Revision `json:"goal"`
	SyncedAt  partition.Instant  `json:"synced_at"`
	Collected partition.Revision `json:"collected"`
}

func (o Origin) asPosition() partition.Position {
	return partition.Position{Origin: o.Name, Revision: o.Revision, Goal: o.Goal, SyncedAt: o.SyncedAt, Collected: o.Collected}
}

// Footer is the end of a backup.
type Footer struct {
	Blocks     int64                       `json:"blocks"`
	Entries    int64                       `json:"entries"`    // tombstones included
	Tombstones int64                       `json:"tombstones"` // among the entries
	Bytes      int64                       `json:"bytes"`      // of values
	Chunks     int64                       `json:"chunks,omitempty"`
	ChunkBytes int64                       `json:"chunk_bytes,omitempty"`
	Newest     map[partition.Origin][]Mark `json:"newest"` // of each origin, the newest entries that the partition held, newest first
	Digest     string                      `json:"digest"` // xxh3-64 of the heads of all frames before, in hex
}

// Mark identifies a version of an entry.
type Mark struct {
	Key        []byte             `json:"key"`
	Revision   partition.Revision `json:"revision"`
	ModifiedAt partition.Instant  `json:"modified_at"`
}

// Summary describes a whole backup.
type Summary struct {
	Header
	Footer
}

// origin returns the position of an origin.
func (h *Header) origin(name partition.Origin) (Origin, bool) {
	i := slices.IndexFunc(h.Origins, func(o Origin) bool { return o.Name == name })
	if i < 0 {
		return Origin{}, false
	}
	return h.Origins[i], true
}

// CompleteAsOf is the moment as of which the backup holds everything of every master, by the clocks
// of the masters. ok is false if the partition was being filled.
func (h *Header) CompleteAsOf() (at time.Time, ok bool) {
	for i, name := range h.Masters {
		o, _ := h.origin(partition.Origin(name))
		if o.SyncedAt == 0 {
			return time.Time{}, false
		}
		if synced := o.SyncedAt.Time(); i == 0 || synced.Before(at) {
			at = synced
		}
	}
	return at, true
}

// cluster returns the cluster row as of the backup.
func (h *Header) cluster() partition.Cluster {
	return partition.Cluster{ID: h.ClusterID, PartitionID: h.PartitionID, Name: h.Partition, Epoch: h.Epoch, Masters: h.Masters, Slots: h.Slots, Ends: h.Ends,
		Epochs: h.Epochs, Voters: h.Voters, Moves: h.Moves}
}

// headerOf describes a view. In the row of the partition itself only the revision has a meaning; the
// partition is complete as of the view.
func headerOf(v partition.View, kind string) Header {
	c, at := v.Cluster(), v.Positions()
	h := Header{ID: partition.NewPartitionID(), CreatedAt: at.Now.Time(), ClusterID: c.ID, Partition: c.Name, PartitionID: c.PartitionID, Kind: kind,
		Epoch: c.Epoch, Masters: c.Masters, Slots: c.Slots, Ends: c.Ends, Epochs: c.Epochs, Voters: c.Voters, Moves: c.Moves}
	for name, p := range at.Origins {
		if string(name) == c.Name {
			p.Goal = p.Revision
		}
		h.Origins = append(h.Origins, Origin{Name: name, Revision: p.Revision, Goal: max(p.Goal, p.Revision), SyncedAt: p.SyncedAt, Collected: p.Collected})
	}
	slices.SortFunc(h.Origins, func(a, b Origin) int { return cmp.Compare(a.Name, b.Name) })
	return h
}

// checkWhole rejects a partition that does not hold everything of each origin as of some moment.
func (h *Header) checkWhole() error {
	for _, name := range h.Masters {
		if _, found := h.origin(partition.Origin(name)); !found {
			return fmt.Errorf("%w: %s holds nothing of %s yet", ErrIncomplete, h.Partition, name)
		}
	}
	for _, o := range h.Origins {
		if p := o.asPosition(); !p.Whole() {
			return fmt.Errorf("%w: %s is amid a catch-up with %s, at %d of %d", ErrIncomplete, h.Partition, o.Name, p.Revision, p.Goal)
		}
	}
	return nil
}

// verifyFields rejects a header that no Write has written.
func (h *Header) verifyFields() error {
	c := h.cluster()
	ok := c.CheckMoves() == nil && h.ID != "" && h.ClusterID != "" && h.Epoch >= 1 && len(h.Masters) > 0 && len(h.Slots) > 0
	for i, o := range h.Origins {
		ok = ok && o.Name != "" && len(o.Name) <= partition.MaxOriginBytes && 0 <= o.Since && o.Since <= o.Revision && o.Revision <= o.Goal &&
			(i == 0 || h.Origins[i-1].Name < o.Name)
	}
	if !ok {
		return errors.New("its header contradicts itself")
	}
	return nil
}

// setBase makes h the header of an incremental backup since base, or says why the base does not do.
func (h *Header) setBase(base *Header) error {
	c := h.cluster()
	if base.ClusterID != h.ClusterID {
		return fmt.Errorf("%w: it is of another cluster (%s, and this is %s)", ErrBase, base.ClusterID, h.ClusterID)
	}
	h.Since = base.ID
	for _, b := range base.Origins {
		i := slices.IndexFunc(h.Origins, func(o Origin) bool { return o.Name == b.Name })
		switch {
		case c.Lost(b.Name, b.Revision):
			return fmt.Errorf("%w: it holds writes of %s up to %d that a restore has undone: take a full backup", ErrBase, b.Name, b.Revision)
		case i < 0 || h.Origins[i].Revision < b.Revision:
			return fmt.Errorf("%w: it holds writes of %s up to %d, and %s lacks some of them: choose a partition that has them, or take a full backup", ErrBase, b.Name, b.Revision, h.Partition)
		case b.asPosition().MissesTombstonesOf(h.Origins[i].asPosition()):
			return fmt.Errorf("%w: it holds %s up to %d, and deletions up to %d have been collected since: take a full backup",
				ErrBase, b.Name, b.Revision, h.Origins[i].Collected)
		}
		h.Origins[i].Since = b.Revision
	}
	return nil
}

// CheckChain rejects backups that are not a full backup and the incremental backups that follow it,
// in their order.
func CheckChain(chain []*Header) error {
	for i, h := range chain {
		switch {
		case i == 0 && h.Since != "":
			return fmt.Errorf("%w: backup %s is incremental, and its base %s must come before it", ErrBase, h.ID, h.Since)
		case i > 0 && h.Since != chain[i-1].ID:
			return fmt.Errorf("%w: backup %s does not follow %s, but %s", ErrBase, h.ID, chain[i-1].ID, cmp.Or(h.Since, "nothing: it is a full backup"))
		}
	}
	return nil
}

var (
	// ErrIncomplete: the partition does not hold everything of each master as of some moment.
	ErrIncomplete = errors.New("the partition is incomplete")
	// ErrBase: the base does not fit.
	ErrBase = errors.New("the base does not fit")
)
