package keys

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/access"
)

// program runs the commands on a configuration.
type program struct {
	config *config.Config
	now    time.Time
}

func newProgram(t *testing.T) *program {
	c := config.Default(t.TempDir())
	c.Partitions = c.Partitions[:1]
	return &program{config: c, now: time.Now()}
}

func (p *program) run(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	root := &cobra.Command{Use: "runnel", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(New(Options{
		Streams:  console.Streams{Out: &out, Err: &errs, Now: func() time.Time { return p.now }, IsTerminal: func(any) bool { return false }},
		AddFlags: func(*cobra.Command) {},
		Config:   func(bool) (*config.Config, error) { c := *p.config; return &c, nil },
	}))
	root.SetArgs(append([]string{"key"}, args...))
	err = root.ExecuteContext(t.Context())
	return out.String(), errs.String(), err
}

func (p *program) mustRun(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	stdout, stderr, err := p.run(t, args...)
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, stderr)
	}
	return stdout, stderr
}

// newToken runs a command that prints a token alone on standard output, and the secret nowhere else.
func (p *program) newToken(t *testing.T, args ...string) access.Token {
	t.Helper()
	stdout, stderr := p.mustRun(t, args...)
	token, err := access.ParseToken(strings.TrimSuffix(stdout, "\n"))
	if err != nil || !strings.HasSuffix(stdout, "\n") {
		t.Fatalf("%q: standard output is %q: %v", args, stdout, err)
	}
	if strings.Contains(stderr, secretOf(token)) || !strings.Contains(stderr, token.ID) {
		t.Errorf("%q: standard error is %s", args, stderr)
	}
	return token
}

func secretOf(t access.Token) string { return t.Reveal()[len("rnl_")+len(t.ID)+1:] }

// authenticate returns the answer of a server that has read the stored keys.
func (p *program) authenticate(t *testing.T, token access.Token) (i *access.Identity, err error) {
	t.Helper()
	c := *p.config
	failure := Options{Streams: console.Streams{Err: new(bytes.Buffer)}}.withStore(t.Context(), &c, func(ctx context.Context, s *store.Store) error {
		r, failure := access.NewRegistry(s, c.Static(), access.Options{Logger: slog.New(slog.DiscardHandler)})
		if failure != nil {
			return failure
		}
		ctx, stop := context.WithTimeout(ctx, 10*time.Second)
		defer stop()
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for !r.Ready() && ctx.Err() == nil {
			<-tick.C
		}
		i, err = r.Authenticate(token.Reveal())
		stop()
		return <-ended
	})
	if failure != nil {
		t.Fatal(failure)
	}
	return i, err
}

func TestACreatedKeyIsPrintedOnceAndWorks(t *testing.T) {
	p := newProgram(t)
	token := p.newToken(t, "create", "shop", "--write", "orders/", "--deny", "orders/secret/", "--right", "force", "--role", "monitor", "--expires", "720h")
	i, err := p.authenticate(t, token)
	if err != nil || i.Name != "shop" || !i.Grants.CanWrite("orders/1") || i.Grants.CanRead("orders/secret/1") || i.Grants.CanRead("users/1") ||
		!i.Grants.MayForce() || !i.Grants.MayMonitor() || i.Grants.IsAdmin() {
		t.Fatalf("%+v, %v", i, err)
	}
	if want := p.now.Add(720 * time.Hour); i.ExpiresAt.Sub(want).Abs() > time.Second {
		t.Errorf("the key expires at %v, want %v", i.ExpiresAt, want)
	}
	for _, args := range [][]string{{"list"}, {"list", "--json"}} {
		stdout, stderr := p.mustRun(t, args...)
		if !strings.Contains(stdout, token.ID) || strings.Contains(stdout+stderr, secretOf(token)) || strings.Contains(stdout+stderr, token.Hash().String()) {
			t.Errorf("%q prints %s%s", args, stdout, stderr)
		}
	}
	if _, _, err := p.run(t, "create", "shop", "--role", "read"); !errors.Is(err, access.ErrNameTaken) {
		t.Errorf("a second key of the name: %v", err)
	}
}

func TestListShowsKeysOfStoreAndConfiguration(t *testing.T) {
	p := newProgram(t)
	if stdout, _ := p.mustRun(t, "list", "--json"); stdout != "[]\n" {
		t.Errorf("no keys are listed as %q", stdout)
	}
	p.newToken(t, "create", "short", "--role", "read", "--expires", "1h")
	p.config.Keys = []config.Key{{ID: "abcdefghij", Name: "static", Hash: strings.Repeat("0a", 32), Roles: []string{"admin"}}}
	p.now = p.now.Add(2 * time.Hour)
	stdout, _ := p.mustRun(t, "list")
	for _, want := range []string{"abcdefghij  static  -", "never    config  admin\n", "short", "expired  store   read\n"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is missing in\n%s", want, stdout)
		}
	}
	stdout, _ = p.mustRun(t, "list", "--json")
	var keys []map[string]any
	if err := json.Unmarshal([]byte(stdout), &keys); err != nil || len(keys) != 2 || keys[0]["source"] != "config" || keys[1]["name"] != "short" || keys[1]["hash"] != nil {
		t.Errorf("%v: %s", err, stdout)
	}
}

func TestRotatedAndRevokedKeys(t *testing.T) {
	p := newProgram(t)
	first := p.newToken(t, "create", "ops", "--role", "admin")
	second := p.newToken(t, "rotate", "ops")
	for _, token := range []access.Token{first, second} {
		if i, err := p.authenticate(t, token); err != nil || i.KeyID != first.ID {
			t.Errorf("during the overlap: %v, %v", i, err)
		}
	}
	third := p.newToken(t, "rotate", first.ID, "--overlap", "0")
	if _, err := p.authenticate(t, second); !errors.Is(err, access.ErrUnauthenticated) {
		t.Errorf("without an overlap: %v", err)
	}
	if _, _, err := p.run(t, "revoke", "ops"); !errors.Is(err, errLastKey) {
		t.Errorf("the last key: %v", err)
	}
	if stdout, _ := p.mustRun(t, "revoke", "ops", "--last"); stdout != "revoked "+first.ID+" ops\n" {
		t.Errorf("revoke prints %q", stdout)
	}
	if _, err := p.authenticate(t, third); !errors.Is(err, access.ErrUnauthenticated) {
		t.Errorf("after the revocation: %v", err)
	}
	if _, _, err := p.run(t, "revoke", "ops"); !errors.Is(err, access.ErrUnknownKey) {
		t.Errorf("a second revocation: %v", err)
	}
	p.newToken(t, "create", "a", "--role", "read")
	p.newToken(t, "create", "b", "--role", "read")
	p.mustRun(t, "revoke", "a")
	p.config.Keys = []config.Key{{ID: "abcdefghij", Name: "static", Hash: strings.Repeat("0a", 32), Roles: []string{"admin"}}}
	p.mustRun(t, "revoke", "b")
}

// TestASectionInAFileIsAKey writes names and prefixes with characters that mean something in TOML or in a configuration.
func TestASectionInAFileIsAKey(t *testing.T) {
	p := newProgram(t)
	file := filepath.Join(t.TempDir(), "runnel.toml")
	if err := os.WriteFile(file, []byte("[[partition]]\nname = 'p'\nurl = 'sqlite:p.db' # no line end"), 0o640); err != nil {
		t.Fatal(err)
	}
	const name, prefix = "a \"quoted\" \\ ${HOME} 'ü'", "${X}/\u200b\"/\u2028"
	app := p.newToken(t, "create", name, "--read", prefix, "--expires", "1h", "--toml", file)
	ops := p.newToken(t, "create", "ops", "--role", "admin", "--right", "mint", "--toml", file)
	c, err := config.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := access.NewRegistry(nil, c.Static(), access.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if i, err := r.Authenticate(app.Reveal()); err != nil || i.Name != name || !i.Grants.CanRead(prefix+"x") || i.Grants.CanRead("x") || i.ExpiresAt.IsZero() {
		t.Errorf("%+v, %v", i, err)
	}
	if i, err := r.Authenticate(ops.Reveal()); err != nil || !i.Grants.IsAdmin() {
		t.Errorf("%+v, %v", i, err)
	}
	text, err := os.ReadFile(file)
	if err != nil || bytes.Contains(text, []byte(secretOf(ops))) {
		t.Errorf("the file holds a secret: %v", err)
	}
	fresh := filepath.Join(t.TempDir(), "new.toml")
	p.newToken(t, "create", "ops", "--role", "admin", "--toml", fresh)
	if info, err := os.Stat(fresh); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a new file: %v, %v", info, err)
	}
	if stdout, _ := p.mustRun(t, "list", "--json"); stdout != "[]\n" {
		t.Errorf("keys of files are stored too: %s", stdout)
	}
	if stdout, _, err := p.run(t, "create", "ops", "--role", "admin", "--toml", t.TempDir()); err == nil || stdout != "" {
		t.Errorf("a key was printed, and its section not written: %q, %v", stdout, err)
	}
}

func TestFaultyKeysAreUsageErrors(t *testing.T) {
	p := newProgram(t)
	p.config.Keys = []config.Key{{ID: "abcdefghij", Name: "static", Hash: strings.Repeat("0a", 32), Roles: []string{"admin"}}}
	for _, args := range [][]string{
		{"create", "a"}, {"create", "a", "--role", "root"}, {"create", "a", "--role", "read", "--write", "x/"}, {"create", "", "--role", "read"},
		{"create", "a\x1b[2J", "--role", "read"}, {"create", "a", "--deny", "x/"}, {"create", "a", "--role", "read", "--expires", "0s"},
		{"create", "a", "--role", "read", "--expires", "-1h"}, {"create", "a", "--right", "fly", "--toml", "/nowhere"},
		{"create", "static", "--role", "read"}, {"revoke", "static"}, {"rotate", "abcdefghij"}, {"rotate", "a", "--overlap", "-1h"},
	} {
		stdout, _, err := p.run(t, args...)
		exit, ok := errors.AsType[*console.ExitError](err)
		if !ok || exit.Code != console.ExitUsage || stdout != "" {
			t.Errorf("%q: %v, printed %q", args, err, stdout)
		}
	}
	if stdout, _ := p.mustRun(t, "list"); strings.Count(stdout, "\n") != 2 {
		t.Errorf("a faulty key was stored:\n%s", stdout)
	}
}
