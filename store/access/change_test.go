package access_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/access"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
	syncer "github.com/runnelkv/runnel/sync"
)

var (
	quiet    = slog.New(slog.DiscardHandler)
	readOnly = access.Spec{Roles: []access.Role{access.RoleRead}}
)

// cluster is a set of databases. Each process opens its own handles.
type cluster struct {
	databases []*memory.Partition
	masters   []string
}

func newCluster(masters ...string) *cluster {
	c := &cluster{masters: masters}
	for i := range 3 {
		c.databases = append(c.databases, memory.New(fmt.Sprintf("p%d", i)))
	}
	return c
}

// process is a store of a cluster in a process of its own.
type process struct {
	*store.Store
	handles []*memory.Partition
}

// start starts a process; with sync it also runs a sync process.
func (c *cluster) start(t *testing.T, withSync bool) *process {
	t.Helper()
	p := &process{}
	o := store.Options{Masters: c.masters, Poll: 50 * time.Millisecond, Timeout: 2 * time.Second, Logger: quiet}
	for _, d := range c.databases {
		p.handles = append(p.handles, d.Reopen())
		o.Partitions = append(o.Partitions, p.handles[len(p.handles)-1])
	}
	var err error
	if p.Store, err = store.Open(o); err != nil {
		t.Fatal(err)
	}
	parts := []func(context.Context) error{p.Run}
	if withSync {
		schedule, err := syncer.ParseSchedule("@every 1s")
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, syncer.New(p.Store, syncer.Options{Schedule: schedule, Logger: quiet}).Run)
	}
	runAll(t, parts, p.Close)
	eventually(t, "a writable master", func() bool {
		writable := 0
		for _, s := range p.Status().Partitions {
			if s.Writable {
				writable++
			}
		}
		return writable == len(c.masters)
	})
	return p
}

// runAll runs the parts until the test ends.
func runAll(t *testing.T, parts []func(context.Context) error, end func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for _, run := range parts {
		group.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		group.Wait()
		if err := end(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// registry runs a registry on the process.
func (p *process) registry(t *testing.T) *access.Registry {
	t.Helper()
	r, err := access.NewRegistry(p.Store, access.Static{}, access.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	runAll(t, []func(context.Context) error{r.Run}, func() error { return nil })
	return r
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("no %s within 10 s", what)
		case <-tick.C:
		}
	}
}

// within5s waits until the token is accepted, or refused, and fails after five seconds.
func within5s(t *testing.T, r *access.Registry, token access.Token, want error) {
	t.Helper()
	began := time.Now()
	eventually(t, fmt.Sprintf("answer %v", want), func() bool {
		_, err := r.Authenticate(token.Reveal())
		return errors.Is(err, want)
	})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("%v until the answer was %v", took, want)
	}
}

// TestARevocationReachesEveryProcessWithinFiveSeconds revokes through one process and asks a
// different one, which reaches all partitions, only replicas, or shares the keys among masters.
func TestARevocationReachesEveryProcessWithinFiveSeconds(t *testing.T) {
	tests := map[string]struct {
		masters []string
		cutOff  bool // the second process does not reach the first master
	}{
		"one master":        {[]string{"p0"}, false},
		"two masters":       {[]string{"p0", "p1"}, false},
		"only the replicas": {[]string{"p0"}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(test.masters...)
			first := c.start(t, true)
			second := c.start(t, false)
			if test.cutOff {
				second.handles[0].Fail(func(string) error { return partition.ErrUnavailable })
			}
			r := second.registry(t)
			for i := range 3 {
				k, token, err := access.Create(t.Context(), first, access.Key{Name: fmt.Sprint("key ", i), Grants: readOnly})
				if err != nil {
					t.Fatal(err)
				}
				within5s(t, r, token, nil)
				identity, err := r.Authenticate(token.Reveal())
				if err != nil || identity.KeyID != k.ID || identity.Name != k.Name || !identity.Grants.CanRead("a") || identity.Grants.CanWrite("a") {
					t.Errorf("%+v: %v", identity, err)
				}
				if i%2 == 0 {
					_, err = access.Revoke(t.Context(), first, k.ID)
				} else {
					_, err = access.Revoke(t.Context(), first, k.Name)
				}
				if err != nil {
					t.Fatal(err)
				}
				within5s(t, r, token, access.ErrUnauthenticated)
				if r.Current(identity) {
					t.Error("the identity is current still")
				}
			}
		})
	}
}

func TestRotationKeepsTheOldSecretForTheOverlap(t *testing.T) {
	p := newCluster("p0").start(t, false)
	r := p.registry(t)
	k, first, err := access.Create(t.Context(), p, access.Key{Name: "app", Grants: readOnly, CreatedBy: "root"})
	if err != nil {
		t.Fatal(err)
	}
	rotated, second, err := access.Rotate(t.Context(), p, "app", time.Hour)
	if err != nil || rotated.ID != k.ID || second.ID != k.ID || second == first {
		t.Fatalf("%+v, %v", rotated, err)
	}
	within5s(t, r, second, nil)
	within5s(t, r, first, nil)
	_, third, err := access.Rotate(t.Context(), p, k.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	within5s(t, r, third, nil)
	within5s(t, r, second, access.ErrUnauthenticated)
	within5s(t, r, first, access.ErrUnauthenticated)
	if _, _, err := access.Rotate(t.Context(), p, k.ID, -1); err == nil {
		t.Error("a negative overlap was accepted")
	}
	keys, err := access.List(t.Context(), p)
	if err != nil || len(keys) != 1 || keys[0].Hash != third.Hash() || keys[0].CreatedBy != "root" || !keys[0].PreviousHash.IsZero() {
		t.Errorf("%+v, %v", keys, err)
	}
}

func TestChangesOfUnknownAndAmbiguousKeysAreRefused(t *testing.T) {
	p := newCluster("p0").start(t, false)
	k, _, err := access.Create(t.Context(), p, access.Key{Name: "a", Grants: readOnly})
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]access.Key{
		"the name of another":   {Name: "a", Grants: readOnly},
		"no name":               {Grants: readOnly},
		"an unprintable name":   {Name: "a\n", Grants: readOnly},
		"a long name":           {Name: strings.Repeat("ü", 129), Grants: readOnly},
		"no grants":             {Name: "b"},
		"an expiry in the past": {Name: "b", Grants: readOnly, ExpiresAt: time.Now()},
	} {
		if _, token, err := access.Create(t.Context(), p, bad); err == nil || token != (access.Token{}) {
			t.Errorf("a key with %s was created", name)
		}
	}
	for _, name := range []string{"", "b", k.ID[1:]} {
		if _, err := access.Revoke(t.Context(), p, name); !errors.Is(err, access.ErrUnknownKey) {
			t.Errorf("Revoke(%q): %v", name, err)
		}
		if _, _, err := access.Rotate(t.Context(), p, name, 0); !errors.Is(err, access.ErrUnknownKey) {
			t.Errorf("Rotate(%q): %v", name, err)
		}
	}
	// Two processes created the same name at the same time.
	e, err := p.Get(t.Context(), store.Space("sys").Key("key/"+k.ID), store.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	twin := strings.Repeat("a", 10)
	e.Entry.Key, e.Entry.Value = store.Space("sys").Key("key/"+twin), []byte(strings.Replace(string(e.Entry.Value), k.ID, twin, 1))
	if _, err := p.Put(t.Context(), e.Entry); err != nil {
		t.Fatal(err)
	}
	if _, err := access.Revoke(t.Context(), p, "a"); err == nil || errors.Is(err, access.ErrUnknownKey) {
		t.Errorf("Revoke of an ambiguous name: %v", err)
	}
	if _, err := access.Revoke(t.Context(), p, twin); err != nil {
		t.Error(err)
	}
	if gone, err := access.Revoke(t.Context(), p, "a"); err != nil || gone.ID != k.ID {
		t.Errorf("%+v, %v", gone, err)
	}
}

// TestADamagedKeyCanBeListedAndRevoked covers records that this version cannot read.
func TestADamagedKeyCanBeListedAndRevoked(t *testing.T) {
	p := newCluster("p0").start(t, false)
	const id = "aaaaaaaaaa"
	if _, err := p.Put(t.Context(), store.Entry{Key: store.Space("sys").Key("key/" + id), Value: []byte("{")}); err != nil {
		t.Fatal(err)
	}
	if keys, err := access.List(t.Context(), p); err != nil || len(keys) != 1 || keys[0].ID != id || keys[0].Name != "" {
		t.Errorf("%+v, %v", keys, err)
	}
	if _, _, err := access.Rotate(t.Context(), p, id, 0); err == nil {
		t.Error("a damaged key was rotated")
	}
	if _, err := access.Revoke(t.Context(), p, id); err != nil {
		t.Error(err)
	}
}

// TestAKeyIsRevokedByIDWhileAnotherMasterIsAway: a name cannot be looked up then.
func TestAKeyIsRevokedByIDWhileAnotherMasterIsAway(t *testing.T) {
	p := newCluster("p0", "p1").start(t, false)
	var ids []string
	for i := range 8 {
		k, _, err := access.Create(t.Context(), p, access.Key{Name: fmt.Sprintf("monitoring%d", i), Grants: readOnly})
		if err != nil {
			t.Fatal(err)
		}
		if p.Master(store.Space("sys").Key("key/"+k.ID)) == "p0" {
			ids = append(ids, k.ID)
		}
	}
	p.handles[1].Fail(func(string) error { return partition.ErrUnavailable })
	for _, id := range ids {
		if _, _, err := access.Rotate(t.Context(), p, id, time.Hour); err != nil {
			t.Error(err)
		}
		if k, err := access.Revoke(t.Context(), p, id); err != nil || !strings.HasPrefix(k.Name, "monitoring") {
			t.Errorf("%+v, %v", k, err)
		}
	}
	if _, err := access.Revoke(t.Context(), p, "monitoring"); err == nil || errors.Is(err, access.ErrUnknownKey) {
		t.Errorf("a name was looked up without a master: %v", err)
	}
}
