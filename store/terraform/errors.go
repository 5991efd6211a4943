package terraform

import "fmt"

// Reason says why a state cannot follow the version that stands.
type Reason string

// The reasons of a ConflictError.
const (
	DifferentLineage Reason = "lineage"     // the state belongs to another history
	LowerSerial      Reason = "serial"      // the state is older than the version that stands
	SameSerial       Reason = "same-serial" // the state is another version with the serial of the version that stands
)

// ConflictError says that a state cannot follow the version that stands. Nothing was stored.
type ConflictError struct {
	Standing Version
	Reason   Reason
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("a state with serial %d and lineage %q stands: %s", e.Standing.Serial, e.Standing.Lineage, e.Reason)
}

// LostError says that nobody holds the lock that a writer names. Nothing was stored.
type LostError struct {
	Name string
	ID   string // of the lock, as the writer names it
}

func (e *LostError) Error() string {
	return fmt.Sprintf("the state %q is not locked with the id %q any more", e.Name, e.ID)
}

// StandingError says that the versions of a state cannot be forgotten while a version stands. Nothing was changed.
type StandingError struct{ Name string }

func (e *StandingError) Error() string {
	return fmt.Sprintf("the state %q stands: delete the state first", e.Name)
}
