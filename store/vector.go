package store

import (
	"cmp"
	"iter"
	"slices"
)

// Mark says: everything of the origin up to the revision.
type Mark struct {
	Origin   Origin
	Revision Revision
}

// Vector is a set of marks, one an origin: what a session has seen or written,
// or how far a reader has come with the changes. An origin without a mark
// stands for its revision 0. The zero value is empty. A Vector is immutable.
type Vector struct {
	marks []Mark // in the order of their origins, revisions above 0
}

// VectorOf is the vector of the marks. Of several of one origin the furthest
// counts, and one at or below 0 says nothing.
func VectorOf(marks ...Mark) (v Vector) {
	for _, m := range marks {
		v = v.With(m)
	}
	return v
}

// IsZero reports whether the vector has no mark.
func (v Vector) IsZero() bool { return len(v.marks) == 0 }

// Len is the number of marks.
func (v Vector) Len() int { return len(v.marks) }

// At is the revision marked for an origin, 0 if there is none.
func (v Vector) At(o Origin) Revision {
	if i, ok := v.find(o); ok {
		return v.marks[i].Revision
	}
	return 0
}

// All yields the marks in the order of their origins.
func (v Vector) All() iter.Seq2[Origin, Revision] {
	return func(yield func(Origin, Revision) bool) {
		for _, m := range v.marks {
			if !yield(m.Origin, m.Revision) {
				return
			}
		}
	}
}

// With is the vector with one mark more. It is v itself where v covers the mark.
func (v Vector) With(m Mark) Vector {
	i, ok := v.find(m.Origin)
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

// Merge is the vector that covers both, and no more.
func (v Vector) Merge(other Vector) Vector {
	if len(v.marks) < len(other.marks) {
		v, other = other, v
	}
	for _, m := range other.marks {
		v = v.With(m)
	}
	return v
}

// Covers reports whether v is at least as far as other for every origin.
func (v Vector) Covers(other Vector) bool {
	return !slices.ContainsFunc(other.marks, func(m Mark) bool { return v.At(m.Origin) < m.Revision })
}

// Equal reports whether both have the same marks.
func (v Vector) Equal(other Vector) bool { return slices.Equal(v.marks, other.marks) }

func (v Vector) find(o Origin) (int, bool) {
	return slices.BinarySearchFunc(v.marks, o, func(m Mark, o Origin) int { return cmp.Compare(m.Origin, o) })
}

// marks is a vector in the making: one an origin, in no order.
type marks []Mark

func (ms *marks) add(m Mark) {
	for i := range *ms {
		if (*ms)[i].Origin == m.Origin {
			(*ms)[i].Revision = max((*ms)[i].Revision, m.Revision)
			return
		}
	}
	*ms = append(*ms, m)
}
