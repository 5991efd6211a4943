package console

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/runnelkv/runnel/api/wire"
)

// mastersPage shows which partitions are masters, and the forms that change this.
type mastersPage struct {
	live
	wire.Status
	Rows           []partitionRow
	Total          int // slots
	From, To, Span string
	Plan           []wire.Move // of a request that was not carried out; nil: none
	Fault          string
}

// showMasters shows the masters.
func showMasters(v *visit) error { return v.showMastersWith(http.StatusOK, new(mastersPage)) }

func (v *visit) showMastersWith(status int, p *mastersPage) error {
	var o overviewPage
	if err := v.fetch("/v1/status", nil, &o.Status); err != nil {
		return err
	}
	o.fill()
	p.Status, p.Rows, p.Total = o.Status, o.Rows, o.Slots
	return v.render(status, "masters", "Mastership", p)
}

// moveSlots plans a move, or makes the move.
func moveSlots(v *visit, form url.Values) error {
	p := &mastersPage{From: form.Get("from"), To: form.Get("to"), Span: strings.TrimSpace(form.Get("slots"))}
	body := map[string]any{"plan": form.Get("do") != "move"}
	for member, text := range map[string]string{"from": p.From, "to": p.To, "slots": p.Span} {
		if text != "" {
			body[member] = text
		}
	}
	var report wire.MoveReport
	_, err := v.send(http.MethodPost, "/v1/move", nil, body, &report)
	if done, err := v.refuseChange(p, err); done {
		return err
	}
	if body["plan"] == false {
		return v.redirect("masters", url.Values{"note": {"moved"}})
	}
	p.Plan = report.Moves
	return v.showMastersWith(http.StatusOK, p)
}

// promotePartition replaces a lost master.
func promotePartition(v *visit, form url.Values) error {
	body := map[string]any{"to": form.Get("to"), "in_place_of": form.Get("in_place_of"), "old_master_is_stopped": form.Get("stopped") != ""}
	_, err := v.send(http.MethodPost, "/v1/promote", nil, body, nil)
	if done, err := v.refuseChange(new(mastersPage), err); done {
		return err
	}
	return v.redirect("masters", url.Values{"note": {"promoted"}})
}

// refuseChange shows why a change of the masters was refused, and reports whether there was an error.
func (v *visit) refuseChange(p *mastersPage, err error) (bool, error) {
	refused, ok := errors.AsType[*refusal](err)
	if !ok || refused.Status == http.StatusUnauthorized || refused.Status == http.StatusForbidden {
		return err != nil, err
	}
	p.Fault = refused.Title + ". " + string(refused.Detail)
	return true, v.showMastersWith(refused.Status, p)
}
