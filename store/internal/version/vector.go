package version

import (
	"cmp"
	"iter"
	"slices"

	"github.com/runnelkv/runnel/store/partition"
)

// Mark stands for all changes of an origin up to a revision.
type Mark struct {
	Origin   partition.Origin
	Revision partition.Revision
}

// Vector is a set of marks, at most one per origin. A session is the vector of the revisions
// that it has read or written; a reader of the change feed has one for its progress. An
// origin without a mark is at revision 0. The zero value is empty. A Vector is immutable.
type Vector struct {
	marks []Mark // in the order of their origins, revisions above 0
}

// Of is the vector of the marks. Of several marks of an origin the highest counts;
// marks at or below 0 are ignored.
func Of(marks ...Mark) (v Vector) {
	for _, m := range marks {
		v = v.With(m)
	}
	return v
}

// OfPositions is everything that a partition at these positions holds.
func OfPositions(p partition.Positions) (v Vector) {
	for o, at := range p.Origins {
		v = v.With(Mark{o, at.Revision})
	}
	return v
}

// IsZero reports whether the vector has no mark.
func (v Vector) IsZero() bool { return len(v.marks) == 0 }

// Len is the number of marks.
func (v Vector) Len() int { return len(v.marks) }

// At is the revision marked for an origin, 0 if there is none.
func (v Vector) At(o partition.Origin) partition.Revision {
	if i, ok := v.markIndex(o); ok {
		return v.marks[i].Revision
	}
	return 0
}

// All yields the marks in the order of their origins.
func (v Vector) All() iter.Seq2[partition.Origin, partition.Revision] {
	return func(yield func(partition.Origin, partition.Revision) bool) {
		for _, m := range v.marks {
			if !yield(m.Origin, m.Revision) {
				return
			}
		}
	}
}

// With is v merged with a mark.
func (v Vector) With(m Mark) Vector {
	i, ok := v.markIndex(m.Origin)
	switch {
	case m.Revision <= 0, ok && m.Revision <= v.marks[i].Revision:
		return v
	case ok:
		marks := slices.Clone(v.marks)
		marks[i] = m
		return Vector{marks}
	}
	return Vector{slices.Insert(slices.Clip(v.marks), i, m)} // clipped: never in place
}

// Merge is the smallest vector that covers both.
func (v Vector) Merge(other Vector) Vector {
	if len(v.marks) < len(other.marks) {
		v, other = other, v
	}
	for _, m := range other.marks {
		v = v.With(m)
	}
	return v
}

// Covers reports whether v is at or beyond other for every origin.
func (v Vector) Covers(other Vector) bool {
	return !slices.ContainsFunc(other.marks, func(m Mark) bool { return v.At(m.Origin) < m.Revision })
}

// Equal reports whether both have the same marks.
func (v Vector) Equal(other Vector) bool { return slices.Equal(v.marks, other.marks) }

func (v Vector) markIndex(o partition.Origin) (int, bool) {
	return slices.BinarySearchFunc(v.marks, o, func(m Mark, o partition.Origin) int { return cmp.Compare(m.Origin, o) })
}

// Marks collects marks, at most one per origin, in no order. Of sorts them.
type Marks []Mark

// Add adds a mark. Of two marks of an origin the higher stays.
func (ms *Marks) Add(m Mark) {
	for i := range *ms {
		if (*ms)[i].Origin == m.Origin {
			(*ms)[i].Revision = max((*ms)[i].Revision, m.Revision)
			return
		}
	}
	*ms = append(*ms, m)
}
