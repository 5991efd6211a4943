package node

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/access"
)

// newReloaded returns a node of a file, and a function that writes the file anew, with more sections.
func newReloaded(t *testing.T) (n *node, write func(sections string)) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "runnel.toml")
	write = func(sections string) {
		t.Helper()
		text := "[[partition]]\nname = 'p'\nurl = 'sqlite:" + filepath.Join(dir, "p.db") + "'\n" + sections
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	c, err := config.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Audit.File = filepath.Join(dir, "audit.log")
	n, err = newNode(Options{Config: c, File: file, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.store.Close() })
	return n, write
}

// TestQuotasOfTheFileAreReplacedByAReload covers new quotas, a faulty file and removed quotas.
func TestQuotasOfTheFileAreReplacedByAReload(t *testing.T) {
	n, write := newReloaded(t)
	for _, step := range []struct {
		sections string
		want     []store.Quota
	}{
		{"[[quota]]\nprefix = 'a/'\nmax_keys = 7\n[[quota]]\nmax_bytes = '1KiB'\n", []store.Quota{{Prefix: "a/", MaxKeys: 7}, {MaxBytes: 1024}}},
		{"[[quota]]\nprefix = 'a/'\n", []store.Quota{{Prefix: "a/", MaxKeys: 7}, {MaxBytes: 1024}}},
		{"[[quota]]\nprefix = 'a/'\nmax_keys = 8\n", []store.Quota{{Prefix: "a/", MaxKeys: 8}}},
		{"", nil},
	} {
		write(step.sections)
		n.reload()
		var got []store.Quota
		for _, q := range n.store.Status().Quotas {
			got = append(got, q.Quota)
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("after %q: %+v", step.sections, got)
		}
	}
}

// TestKeysOfTheFileAreReplacedByAReload covers new keys, a faulty file and removed keys.
func TestKeysOfTheFileAreReplacedByAReload(t *testing.T) {
	n, write := newReloaded(t)
	want := func(token access.Token, want error) {
		t.Helper()
		if _, err := n.keys.Authenticate(token.Reveal()); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	k, token, err := access.New(access.Key{Name: "ops", Grants: access.Spec{Roles: []access.Role{access.RoleAdmin}}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	want(token, access.ErrNotReady)
	write(config.KeySection(k))
	n.reload()
	want(token, nil)
	write(config.KeySection(k) + "roles = ['root']\n")
	n.reload()
	want(token, nil)
	write("")
	n.reload()
	want(token, access.ErrNotReady) // the stored keys are unknown
	text, err := os.ReadFile(n.config.Audit.File)
	if err != nil {
		t.Fatal(err)
	}
	for _, act := range []string{"created", "revoked"} {
		if line := `"act":"admin","key_id":"` + k.ID + `","key_name":"ops","route":"key ` + act + `"`; strings.Count(string(text), line) != 1 {
			t.Errorf("not one line that the key was %s:\n%s", act, text)
		}
	}
}

func TestOnlyALoopbackServerIsOpenWithoutKeys(t *testing.T) {
	for address, open := range map[string]bool{"127.0.0.1:0": true, "[::1]:0": true, "localhost:80": true, ":80": false, "0.0.0.0:80": false, "192.0.2.1:80": false, "bad": false} {
		n := &node{config: config.Default("")}
		n.config.HTTP.Listen = address
		if got := n.staticAccess(n.config).OpenWithoutKeys; got != open {
			t.Errorf("%s is open: %v, want %v", address, got, open)
		}
		n.insecure = true
		if !n.staticAccess(n.config).OpenWithoutKeys {
			t.Errorf("%s is not open with --insecure", address)
		}
	}
}
