package terraform

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/runnelkv/runnel/store"
)

// The spaces of this package.
const (
	records  store.Space = "terraform"
	versions store.Space = "terraform-version"
)

// State is a state to be stored.
type State struct {
	Text    []byte // JSON, as the tool sent it
	Serial  uint64
	Lineage string
	Tool    string // the version of the tool that wrote the state; "" if unknown
	Empty   bool   // the state has neither resources nor outputs
	By      string // the name of the API key that stores the state; "" without a key
}

// Version describes a stored version of a state.
type Version struct {
	ID      store.Revision `json:"id"` // larger for later versions of a name
	Serial  uint64         `json:"serial"`
	Lineage string         `json:"lineage"`
	Tool    string         `json:"tool,omitempty"`
	Empty   bool           `json:"empty,omitempty"`
	By      string         `json:"by,omitempty"`
	Size    int64          `json:"size"`   // bytes of the text
	SHA256  string         `json:"sha256"` // of the text, in hex
	At      store.Instant  `json:"at"`     // by the clock of the master
}

// version describes the state, without ID and At.
func (s *State) version() Version {
	sum := sha256.Sum256(s.Text)
	return Version{Serial: s.Serial, Lineage: s.Lineage, Tool: s.Tool, Empty: s.Empty, By: s.By, Size: int64(len(s.Text)), SHA256: hex.EncodeToString(sum[:])}
}

// record is the value of a state's entry.
type record struct {
	Deleted  bool      `json:"deleted,omitempty"` // no version stands
	Versions []Version `json:"versions"`          // the newest first
}

// contentType is that of a record.
const contentType = "application/vnd.runnel.terraform+json"

// decodeRecord decodes the value of a record's entry.
func decodeRecord(e *store.Entry) (r record, err error) {
	err = json.Unmarshal(e.Value, &r)
	if err == nil && !e.Intact() {
		err = errors.New("its checksum differs")
	}
	if err != nil {
		return r, fmt.Errorf("the entry %s is damaged: %w", e.Key, err)
	}
	return r, nil
}

// entry returns the entry of the record of a name.
func (r *record) entry(name string) (store.Entry, error) {
	value, err := json.Marshal(r)
	return store.Entry{Key: records.Key(name), ContentType: contentType, Value: value}, err
}

// standing returns the version that stands; nil if there is none.
func (r *record) standing() *Version {
	if r.Deleted || len(r.Versions) == 0 {
		return nil
	}
	return &r.Versions[0]
}

// find returns the version with an id; nil if the version is not kept.
func (r *record) find(id store.Revision) *Version {
	i := slices.IndexFunc(r.Versions, func(v Version) bool { return v.ID == id })
	if i < 0 {
		return nil
	}
	return &r.Versions[i]
}

// beyond returns the keys of at most limit versions behind the first keep versions, the oldest first.
func (r *record) beyond(name string, keep, limit int) (keys []store.Key) {
	for i := len(r.Versions) - 1; i >= keep && len(keys) < limit; i-- {
		keys = append(keys, versionKey(name, r.Versions[i].ID))
	}
	return keys
}

// isFollowedBy returns a *ConflictError unless the version may follow the version that stands. same reports that they have the same
// text.
func (r *record) isFollowedBy(v *Version) (same bool, err error) {
	old := r.standing()
	switch {
	case old == nil:
		return false, nil
	case v.Lineage != old.Lineage && !old.Empty:
		return false, &ConflictError{Standing: *old, Reason: DifferentLineage}
	case v.Lineage != old.Lineage:
		return false, nil
	case v.Serial < old.Serial:
		return false, &ConflictError{Standing: *old, Reason: LowerSerial}
	case v.Serial > old.Serial:
		return false, nil
	case v.SHA256 != old.SHA256:
		return false, &ConflictError{Standing: *old, Reason: SameSerial}
	}
	return true, nil
}

// versionPrefix begins the keys of the versions of a name, and has the slot of the name.
func versionPrefix(name string) store.Key {
	own := versions.Key(name + "/")
	if store.SlotOf(own) == store.SlotOf(records.Key(name)) && strings.Contains(name, "{") {
		return own // the name has a {tag}
	}
	return versions.Key("{" + name + "}/")
}

// versionKey is the key that Tx.Append gives to the version with an id.
func versionKey(name string, id store.Revision) store.Key {
	return versionPrefix(name) + store.Key(fmt.Sprintf("%016x", ^uint64(id)))
}

// The endings of paths that belong to a state: no name ends so.
var endings = []string{"/lock", "/history"}

// checkName returns a *store.KeyError for a name that no state can have.
func (s *States) checkName(name string) error {
	if err := s.store.CheckName(name); err != nil {
		return err
	}
	for _, ending := range endings {
		if strings.HasSuffix(name, ending) {
			return &store.KeyError{Reason: "ends in " + ending + ", which no state of Terraform does"}
		}
	}
	if store.SlotOf(versionPrefix(name)) != store.SlotOf(records.Key(name)) {
		return &store.KeyError{Reason: "holds a brace outside of a {tag}, which no state of Terraform does"}
	}
	return nil
}
