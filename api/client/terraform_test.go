package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/api/wire"
)

// send sends a request as a tool does, which must be answered 200.
func send(t *testing.T, method, url, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != 200 {
		t.Fatalf("%s %s: %s", method, url, resp.Status)
	}
}

func TestStatesOfAClient(t *testing.T) {
	server, stop := startServer()
	defer stop()
	c, err := client.New(server.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, names := t.Context(), []string{"100%", "a//b", "prod/network", "日本語/x/"}
	for _, name := range names {
		url := server.URL + wire.Path(wire.TerraformPath+"/", name)
		for serial := 1; serial <= 2; serial++ {
			send(t, "POST", url, fmt.Sprintf(`{"serial":%d,"lineage":%q}`, serial, name))
		}
		versions, err := c.StateHistory(ctx, name)
		if err != nil || len(versions) != 2 || versions[0].Serial != 2 || !versions[0].Stands || versions[1].Stands {
			t.Fatalf("history of %q: %+v, %v", name, versions, err)
		}
		for serial, version := range map[int]int64{2: 0, 1: versions[1].ID} {
			if state, err := c.ReadState(ctx, name, version); err != nil || string(state) != fmt.Sprintf(`{"serial":%d,"lineage":%q}`, serial, name) {
				t.Errorf("%q, version %d: %s, %v", name, version, state, err)
			}
		}
		if _, err := c.ReadState(ctx, name, 1); !errors.Is(err, client.ErrNotFound) {
			t.Errorf("a version that is not kept: %v", err)
		}
		send(t, "LOCK", url, `{"ID":"one","Who":"ann"}`)
		err = c.UnlockState(ctx, name, "two")
		if e, ok := errors.AsType[*client.Error](err); !ok || !errors.Is(err, client.ErrLocked) || e.TerraformLock == nil || e.TerraformLock.ID != "one" {
			t.Errorf("unlock %q with a wrong ID: %v", name, err)
		}
		for range 2 {
			if err := c.UnlockState(ctx, name, "one"); err != nil {
				t.Errorf("unlock %q: %v", name, err)
			}
		}
	}
	var listed []string
	for s, err := range c.ListStates(ctx, "") {
		if err != nil {
			t.Fatal(err)
		}
		if listed = append(listed, string(s.Name)); s.Present.Serial != 2 || s.Kept != 2 {
			t.Errorf("%+v", s)
		}
	}
	if fmt.Sprint(listed) != fmt.Sprint(names) {
		t.Errorf("%q are listed", listed)
	}
	if _, err := c.StateHistory(ctx, "none"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("the history of an unknown state: %v", err)
	}
}
