package files

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/file"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// rig is a server with files, and the commands.
type rig struct {
	t        *testing.T
	url      string
	in       io.Reader
	cutAfter atomic.Int64 // the next answer of more bytes breaks off; 0: none
	dir      string
}

func newRig(t *testing.T) *rig {
	quiet := slog.New(slog.DiscardHandler)
	s, err := store.Open(store.Options{Partitions: []partition.Partition{memory.New("a"), memory.New("b")}, Poll: 5 * time.Millisecond, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, s.Close()); err != nil {
			t.Error(err)
		}
	})
	f, err := file.New(s, file.Options{ChunkBytes: file.MinChunkBytes, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	handler := api.New(api.Options{Store: s, Files: f, Logger: quiet})
	r := &rig{t: t, dir: t.TempDir()}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodGet {
			if n := r.cutAfter.Swap(0); n > 0 {
				w = &cutWriter{w, n}
			}
		}
		handler.ServeHTTP(w, q)
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		st := s.Status()
		if st.Partitions[0].Writable && st.Partitions[1].Err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("never ready: %+v", st.Partitions)
		}
	}
	return r
}

// cutWriter breaks an answer off.
type cutWriter struct {
	http.ResponseWriter
	left int64
}

func (w *cutWriter) Write(b []byte) (int, error) {
	if w.left -= int64(len(b)); w.left < 0 {
		panic(http.ErrAbortHandler)
	}
	return w.ResponseWriter.Write(b)
}

// run runs a command and returns standard output and standard error.
func (r *rig) run(args ...string) (out, errs string, err error) {
	r.t.Helper()
	var stdout, stderr bytes.Buffer
	streams := &console.Streams{In: r.in, Out: &stdout, Err: &stderr, IsTerminal: func(any) bool { return false }}
	cmd := New(Program{Streams: streams, Client: func(o client.Options) (*client.Client, error) { return client.New(r.url, o) }})
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	err = cmd.ExecuteContext(r.t.Context())
	return stdout.String(), stderr.String(), err
}

func (r *rig) must(args ...string) string {
	r.t.Helper()
	out, errs, err := r.run(args...)
	if err != nil {
		r.t.Fatalf("%q: %v\n%s", args, err, errs)
	}
	return out
}

// write writes a local file of n bytes and returns its path and content.
func (r *rig) write(name string, n int, seed byte) (string, []byte) {
	r.t.Helper()
	content := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(content)
	path := filepath.Join(r.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)); err != nil {
		r.t.Fatal(err)
	}
	return path, content
}

func (r *rig) wantFile(path string, want []byte) {
	r.t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		r.t.Errorf("%s: %d bytes, want %d: %v", path, len(got), len(want), err)
	}
}

func TestPutAndGetMoveFilesWhole(t *testing.T) {
	r := newRig(t)
	for i, size := range []int{0, 1, file.InlineBytes, 5*file.MinChunkBytes + 3} {
		name := "dir/" + strconv.Itoa(size)
		path, content := r.write(name, size, byte(i))
		if tag := r.must("put", path, name); !strings.HasPrefix(tag, `"`) {
			t.Errorf("printed %q", tag)
		}
		target := filepath.Join(r.dir, "down")
		r.must("get", name, target)
		r.wantFile(target, content)
		if out := r.must("get", name, "-"); out != string(content) {
			t.Errorf("to standard output: %d bytes", len(out))
		}
		if _, err := os.Stat(target + ".partial"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a partial file is left: %v", err)
		}
	}
	if _, _, err := r.run("put", filepath.Join(r.dir, "dir/1"), "dir/1", "--new"); !errors.Is(err, client.ErrPreconditionFailed) {
		t.Errorf("--new over a file: %v", err)
	}
	if _, _, err := r.run("get", "none", filepath.Join(r.dir, "none")); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("no such file: %v", err)
	}
	r.in = strings.NewReader(strings.Repeat("standard input ", 20_000))
	r.must("put", "-", "stdin")
	if out := r.must("get", "stdin", "-"); out != strings.Repeat("standard input ", 20_000) {
		t.Errorf("%d bytes of standard input", len(out))
	}
	r.must("copy", "stdin", "copied")
	r.must("delete", "stdin")
	if out := r.must("list", "--recursive"); strings.Count(out, "\n") != 5 || strings.Contains(out, "stdin") || !strings.Contains(out, "copied") {
		t.Errorf("listed:\n%s", out)
	}
	if out := r.must("list"); strings.Count(out, "\n") != 2 || !strings.Contains(out, "dir/") {
		t.Errorf("listed:\n%s", out)
	}
	if out := r.must("verify", "copied"); !strings.Contains(out, "0 damaged, 0 missing, 0 restored, 0 lost") {
		t.Errorf("verified: %s", out)
	}
}

func TestBrokenDownloadGoesOn(t *testing.T) {
	r := newRig(t)
	path, content := r.write("big", 6*file.MinChunkBytes+3, 1)
	r.must("put", path, "big")
	target := filepath.Join(r.dir, "down")
	r.cutAfter.Store(3 * file.MinChunkBytes)
	r.must("get", "big", target)
	r.wantFile(target, content)

	if err := os.WriteFile(target+".partial", content[:100_000], 0o644); err != nil {
		t.Fatal(err)
	}
	r.must("get", "big", target, "--resume")
	r.wantFile(target, content)
	for _, wrong := range [][]byte{[]byte("other"), append(bytes.Clone(content), 1)} {
		if err := os.WriteFile(target+".partial", wrong, 0o644); err != nil {
			t.Fatal(err)
		}
		_, _, err := r.run("get", "big", target, "--resume")
		if sum := sha256.Sum256(wrong); err == nil && sum != sha256.Sum256(content) {
			r.wantFile(target, content)
		}
	}
}

func TestMirrorMovesWhatDiffers(t *testing.T) {
	r := newRig(t)
	source := filepath.Join(r.dir, "source")
	contents := map[string][]byte{}
	for i, name := range []string{"a", "b/c", "b/d e", "ü"} {
		_, contents[name] = r.write("source/"+name, 70_000+i, byte(i))
	}
	if err := os.Symlink("a", filepath.Join(source, "link")); err != nil {
		t.Fatal(err)
	}
	_, errs, err := r.run("mirror", source, "www/")
	if err != nil || !strings.Contains(errs, "moved 4 files") || !strings.Contains(errs, "skipped 1") {
		t.Fatalf("%v: %s", err, errs)
	}
	_, contents["a"] = r.write("source/a", 70_000, 9)
	if err := os.Remove(filepath.Join(source, "ü")); err != nil {
		t.Fatal(err)
	}
	if out, _, err := r.run("mirror", source, "www/", "--delete", "--dry-run"); err != nil || out != "store www/a\ndelete ü\n" {
		t.Errorf("%v: %q", err, out)
	}
	if _, errs, err = r.run("mirror", source, "www/", "--delete", "--yes"); err != nil || !strings.Contains(errs, "moved 1 files") || !strings.Contains(errs, "deleted 1 files") {
		t.Errorf("%v: %s", err, errs)
	}
	delete(contents, "ü")
	target := filepath.Join(r.dir, "target")
	r.write("target/b/old", 5, 1)
	r.must("mirror", target, "www/", "--down", "--delete", "--yes")
	for name, content := range contents {
		r.wantFile(filepath.Join(target, name), content)
	}
	if _, err := os.Stat(filepath.Join(target, "b/old")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that the server does not have is left: %v", err)
	}
	if _, errs, err = r.run("mirror", target, "www/", "--down"); err != nil || !strings.Contains(errs, "moved 0 files") {
		t.Errorf("again: %v: %s", err, errs)
	}
	r.in = strings.NewReader("x")
	r.must("put", "-", "www/../../escape")
	if _, errs, err = r.run("mirror", target, "www/", "--down"); err != nil || !strings.Contains(errs, "skipped \"www/../../escape\"") {
		t.Errorf("a name that leads out: %v: %s", err, errs)
	}
}
