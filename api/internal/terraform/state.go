package terraform

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/runnelkv/runnel/api/internal/digest"
	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store/terraform"
)

// Bounds of members of a state, in bytes.
const (
	maxLineage = 256
	maxTool    = 64
)

// readState reads the body of a request as a state.
func (s *Service) readState(w *exchange.Response, r *exchange.Request) (*terraform.State, error) {
	if r.Header["Content-Encoding"] != nil {
		return nil, problem.New(problem.Encoding, "A state has no Content-Encoding.")
	}
	text, err := w.ReadBody(r, s.maxBytes(), tooLarge)
	if err != nil {
		return nil, err
	}
	if err := digest.Check(r.Header, text); err != nil {
		return nil, err
	}
	state, err := parseState(text)
	if err != nil {
		return nil, wire.Syntax(err)
	}
	if r.Identity != nil {
		state.By = r.Identity.Name
	}
	return state, nil
}

// tooLarge returns the error for a state of more than limit bytes.
func tooLarge(limit int64) *problem.Error {
	e := problem.New(problem.TooLarge, "The state is larger than %d bytes, the limit of every value (store.max_value_bytes, or the max_allowed_packet of a server).", limit)
	e.Members.MaxBytes = limit
	return e
}

// parseState reads the members of a state that decide on its order. An encrypted state of OpenTofu has them too.
func parseState(text []byte) (*terraform.State, error) {
	d := wire.NewDecoder()
	d.Reset(text)
	if d.PeekKind() != '{' {
		return nil, problem.New(problem.InvalidJSON, "The state is not a JSON object.")
	}
	p := stateParser{State: terraform.State{Text: text}}
	err := d.Object(func(name jsontext.Value) error {
		value, err := d.ReadValue()
		if err == nil {
			err = p.addMember(string(name), value)
		}
		return err
	})
	if err == nil {
		err = d.End()
	}
	switch {
	case err != nil:
		return nil, err
	case !p.hasSerial:
		return nil, problem.Item("serial", "The state has no member serial, a whole number.")
	case p.Lineage == "":
		return nil, problem.Item("lineage", "The state has no member lineage, a string that is not empty.")
	}
	p.Empty = p.noResources && p.noOutputs
	return &p.State, nil
}

// stateParser collects the members of a state.
type stateParser struct {
	terraform.State
	hasSerial, noResources, noOutputs bool
}

func (p *stateParser) addMember(quoted string, value jsontext.Value) (err error) {
	switch quoted {
	case `"serial"`:
		p.Serial, err = strconv.ParseUint(string(value), 10, 64)
		if p.hasSerial = true; err != nil {
			return problem.Item("serial", "The member serial is a whole number from 0 to 2^64-1, not %s.", wire.Shorten(value))
		}
	case `"lineage"`:
		p.Lineage, err = memberText("lineage", value)
		if err == nil && len(p.Lineage) > maxLineage {
			return problem.Item("lineage", "The member lineage has %d bytes, more than %d.", len(p.Lineage), maxLineage)
		}
	case `"terraform_version"`:
		p.Tool, err = memberText("terraform_version", value)
		p.Tool = p.Tool[:min(len(p.Tool), maxTool)]
	case `"resources"`:
		p.noResources = isEmpty(value)
	case `"outputs"`:
		p.noOutputs = isEmpty(value)
	}
	return err
}

// memberText decodes a member that is a string.
func memberText(member string, value jsontext.Value) (string, error) {
	if value.Kind() != '"' {
		return "", problem.Item(member, "The member %s is a string, not %s.", member, wire.Shorten(value))
	}
	text, err := wire.Unquote(value)
	return string(text), err
}

// isEmpty reports whether a value is null, or an object or array without elements.
func isEmpty(value jsontext.Value) bool {
	return value.Kind() == 'n' || len(value) >= 2 && len(bytes.TrimSpace(value[1:len(value)-1])) == 0
}
