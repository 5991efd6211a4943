package wire

import (
	"encoding/xml"
	"fmt"
	"time"
)

// TerraformPath is the path of the list of states of Terraform and OpenTofu. The path of a state follows after a slash; below
// the state are TerraformLockPath and TerraformHistoryPath.
const (
	TerraformPath        = "/v1/terraform"
	TerraformLockPath    = "/lock"
	TerraformHistoryPath = "/history"
)

// TerraformLock describes the lock of a state. These members are named by the tools.
type TerraformLock struct {
	ID        Text      `json:"ID" xml:"ID"` // given to force-unlock
	Operation Text      `json:"Operation" xml:"Operation"`
	Info      Text      `json:"Info" xml:"Info"`
	Who       Text      `json:"Who" xml:"Who"`
	Version   Text      `json:"Version" xml:"Version"` // of the tool
	Created   time.Time `json:"Created" xml:"Created"`
	Path      Text      `json:"Path" xml:"Path"`
}

// TerraformVersion is a stored version of a state.
type TerraformVersion struct {
	XMLName  xml.Name  `json:"-" xml:"version"`
	ID       int64     `json:"version" xml:"id"` // larger for later versions
	Serial   uint64    `json:"serial" xml:"serial"`
	Lineage  Text      `json:"lineage" xml:"lineage"`
	Tool     Text      `json:"terraform_version,omitempty" xml:"terraform_version,omitempty"`
	Size     int64     `json:"size" xml:"size"`
	StoredAt time.Time `json:"stored_at" xml:"stored_at"`       // by the clock of the master
	By       Text      `json:"by,omitempty" xml:"by,omitempty"` // the name of the API key
	Stands   bool      `json:"stands" xml:"stands"`             // this is the present version
}

// Line describes the version for people.
func (v *TerraformVersion) Line() string {
	line := fmt.Sprintf("version %d: serial %d, lineage %s, %d bytes, stored at %s", v.ID, v.Serial, v.Lineage, v.Size, v.StoredAt.Format(time.RFC3339))
	if v.By != "" {
		line += fmt.Sprintf(" by %q", v.By)
	}
	if v.Stands {
		line += ", stands"
	}
	return line
}

// TerraformHistory has the kept versions of a state, the newest first.
type TerraformHistory struct {
	XMLName  xml.Name            `json:"-" xml:"history"`
	Name     Text                `json:"name" xml:"name"`
	Versions []*TerraformVersion `json:"versions" xml:"version"`
}

// TerraformState is a state in a list, with the version that stands.
type TerraformState struct {
	XMLName xml.Name         `json:"-" xml:"state"`
	Name    Text             `json:"name" xml:"name"`
	Present TerraformVersion `json:"present" xml:"version"`
	Kept    int              `json:"kept" xml:"kept"` // versions
}

// TerraformPage is a page of a list of states.
type TerraformPage struct {
	XMLName xml.Name          `json:"-" xml:"states"`
	States  []*TerraformState `json:"states" xml:"state"`
	Next    string            `json:"next,omitempty" xml:"next,omitempty"`
}
