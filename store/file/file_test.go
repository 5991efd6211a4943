package file_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/file"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

const chunk = file.MinChunkBytes

// rig is a store over three memory partitions, of which the first is the master, with a file service.
type rig struct {
	*storetest.Rig
	*file.Service
	t *testing.T
}

func newRig(t *testing.T, o file.Options) *rig {
	t.Helper()
	r := &rig{Rig: storetest.New(t, 3, storetest.Options()), t: t}
	if o.ChunkBytes == 0 {
		o.ChunkBytes = chunk
	}
	o.Logger = slog.New(slog.DiscardHandler)
	s, err := file.New(r.Store, o)
	if err != nil {
		t.Fatal(err)
	}
	r.Service = s
	r.awaitUsable(3)
	return r
}

// awaitUsable waits until the store knows that n partitions answer.
func (r *rig) awaitUsable(n int) {
	r.t.Helper()
	storetest.Eventually(r.t, fmt.Sprint(n, " usable partitions"), func() bool {
		usable := 0
		for _, p := range r.Replicas() {
			if p.Err == nil {
				usable++
			}
		}
		return usable == n
	})
}

func (r *rig) put(name string, content []byte, o file.PutOptions) *file.Stored {
	r.t.Helper()
	s, err := r.Service.Put(r.t.Context(), name, bytes.NewReader(content), o)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// fromMaster reads the newest manifest.
var fromMaster = store.ReadOptions{Consistency: store.FromMaster}

func (r *rig) open(name string) *file.File {
	r.t.Helper()
	f, _, err := r.Open(r.t.Context(), name, fromMaster)
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

func (r *rig) read(name string) ([]byte, error) {
	f, _, err := r.Open(r.t.Context(), name, fromMaster)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = f.WriteRange(r.t.Context(), &b, 0, f.Size, func() {})
	return b.Bytes(), err
}

func (r *rig) wantContent(name string, want []byte) {
	r.t.Helper()
	got, err := r.read(name)
	if err != nil || !bytes.Equal(got, want) {
		r.t.Errorf("%s: %d bytes and not the %d stored: %v", name, len(got), len(want), err)
	}
}

// copies counts the whole copies of a chunk.
func (r *rig) copies(hash partition.ChunkHash) (n int) {
	for _, p := range r.Parts {
		if data, err := p.GetChunk(r.t.Context(), hash, nil); err == nil && partition.HashChunk(data) == hash {
			n++
		}
	}
	return n
}

// damage changes a byte of a partition's copy of a chunk, and reports whether there was a copy.
func (r *rig) damage(p *memory.Partition, hash partition.ChunkHash) bool {
	data, err := p.GetChunk(r.t.Context(), hash, nil)
	if err != nil {
		return false
	}
	data[len(data)/2] ^= 1
	if err := p.PutChunk(r.t.Context(), hash, data); err != nil {
		r.t.Fatal(err)
	}
	return true
}

// random returns n bytes that differ for each seed.
func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	rnd := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	rnd.Read(b)
	return b
}

// fail makes every call of a partition fail until restore is called.
func fail(p *memory.Partition) (restore func()) {
	p.Fail(func(string) error { return partition.ErrUnavailable })
	return func() { p.Fail(nil) }
}

func TestFilesOfEverySizeAreReadAsStored(t *testing.T) {
	r := newRig(t, file.Options{})
	for i, size := range []int{0, 1, file.InlineBytes - 1, file.InlineBytes, file.InlineBytes + 1, chunk - 1, chunk, chunk + 1, 2 * chunk, 3<<20 + 7} {
		content := random(size, uint64(i))
		name := fmt.Sprint("size/", size)
		s := r.put(name, content, file.PutOptions{ContentType: "text/plain", Meta: map[string]string{"a": "b"}})
		sum := sha256.Sum256(content)
		if s.Held < 1 || s.Copies != 2 || s.Manifest.SHA256 != hex.EncodeToString(sum[:]) || s.Manifest.Size != int64(size) {
			t.Errorf("%d bytes are stored as %+v", size, s.Manifest.Summary)
		}
		r.wantContent(name, content)
		f := r.open(name)
		if f.Read.Entry.ContentType != "text/plain" || f.Meta["a"] != "b" || f.Copies != 2 {
			t.Errorf("%d bytes: %+v", size, f.Manifest)
		}
		for _, hash := range f.Chunks {
			if n := r.copies(hash); n != 2 {
				t.Errorf("a chunk has %d copies, want 2", n)
			}
		}
		summary, err := file.SummaryOf(&f.Read.Entry)
		if err != nil || summary.Size != int64(size) || summary.SHA256 != f.SHA256 {
			t.Errorf("the summary is %+v: %v", summary, err)
		}
	}
}

func TestRangesAreTheBytesOfTheContent(t *testing.T) {
	r := newRig(t, file.Options{})
	content := random(5*chunk+11, 1)
	r.put("f", content, file.PutOptions{})
	f := r.open("f")
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		from := rnd.Int64N(f.Size + 1)
		n := rnd.Int64N(f.Size - from + 1)
		var b bytes.Buffer
		if err := f.WriteRange(t.Context(), &b, from, n, func() {}); err != nil || !bytes.Equal(b.Bytes(), content[from:from+n]) {
			t.Fatalf("%d bytes from %d: %d bytes, %v", n, from, b.Len(), err)
		}
	}
	for _, from := range []int64{chunk - 1, chunk, 2 * chunk, f.Size - 1} {
		var b bytes.Buffer
		if err := f.WriteRange(t.Context(), &b, from, 1, func() {}); err != nil || b.Bytes()[0] != content[from] {
			t.Errorf("the byte at %d: %v", from, err)
		}
	}
}

func TestFailedUploadLeavesTheFormerFile(t *testing.T) {
	r := newRig(t, file.Options{})
	former := random(3*chunk, 1)
	r.put("f", former, file.PutOptions{})
	broken := errors.New("broken")
	refused := errors.New("refused")
	next := random(4*chunk+5, 2)
	for name, c := range map[string]struct {
		body io.Reader
		o    file.PutOptions
		want error
	}{
		"a body that breaks off":       {io.MultiReader(bytes.NewReader(next), iotest.ErrReader(broken)), file.PutOptions{}, broken},
		"a body that is too short":     {io.MultiReader(bytes.NewReader(next), iotest.ErrReader(io.ErrUnexpectedEOF)), file.PutOptions{}, io.ErrUnexpectedEOF},
		"a short body":                 {io.MultiReader(bytes.NewReader(next[:9]), iotest.ErrReader(io.ErrUnexpectedEOF)), file.PutOptions{}, io.ErrUnexpectedEOF},
		"another digest than stated":   {bytes.NewReader(next), file.PutOptions{Verify: func(file.Summary) error { return refused }}, refused},
		"a condition that is not true": {bytes.NewReader(next), file.PutOptions{Decide: func(*store.Tx, *store.Entry, bool) error { return refused }}, refused},
		"too many copies":              {bytes.NewReader(next), file.PutOptions{Copies: 4}, &file.CopiesError{}},
	} {
		_, err := r.Service.Put(t.Context(), "f", c.body, c.o)
		if _, isCopies := errors.AsType[*file.CopiesError](err); !errors.Is(err, c.want) && !isCopies {
			t.Errorf("%s: %v", name, err)
		}
		r.wantContent("f", former)
	}
}

func TestDamagedCopyIsReadElsewhereAndRestored(t *testing.T) {
	r := newRig(t, file.Options{})
	content := random(6*chunk, 1)
	r.put("f", content, file.PutOptions{})
	f := r.open("f")
	for _, hash := range f.Chunks {
		for _, p := range r.Parts {
			if r.damage(p, hash) {
				r.wantContent("f", content)
				r.wantContent("f", content)
				if v, err := f.Verify(t.Context()); err != nil || v.Whole+v.Repaired != 12 || !v.IsClean() {
					t.Errorf("verified: %+v %v", v, err)
				}
				if n := r.copies(hash); n != 2 {
					t.Errorf("%d whole copies are left, want 2", n)
				}
			}
		}
	}
	if n := r.Figures(); n.Damaged != 12 || n.Repaired != 12 {
		t.Errorf("counted: %+v", n)
	}
}

func TestChunkThatIsDamagedEverywhereIsNotServed(t *testing.T) {
	r := newRig(t, file.Options{})
	content := random(6*chunk, 1)
	r.put("f", content, file.PutOptions{})
	f := r.open("f")
	for i, hash := range f.Chunks {
		for _, p := range r.Parts {
			r.damage(p, hash)
		}
		var b bytes.Buffer
		ready := false
		err := f.WriteRange(t.Context(), &b, 0, f.Size, func() { ready = true })
		if !errors.Is(err, file.ErrNoCopy) || !bytes.HasPrefix(content, b.Bytes()) || b.Len() != i*chunk || ready != (i > 0) {
			t.Errorf("chunk %d: %d bytes, ready %t: %v", i, b.Len(), ready, err)
		}
		for _, p := range r.Parts {
			r.damage(p, hash) // the same byte back
		}
	}
	r.wantContent("f", content)
}

func TestOneDeadPartitionStopsNothing(t *testing.T) {
	r := newRig(t, file.Options{})
	content := random(9*chunk, 1)
	r.put("before", content, file.PutOptions{})
	restore := fail(r.Parts[2])
	r.put("at once", random(9*chunk, 2), file.PutOptions{}) // the store may not know of the failure yet
	r.awaitUsable(2)
	r.put("known", random(9*chunk, 3), file.PutOptions{})
	r.wantContent("before", content)
	r.wantContent("at once", random(9*chunk, 2))
	r.wantContent("known", random(9*chunk, 3))

	other := fail(r.Parts[1])
	r.awaitUsable(1)
	if _, err := r.Service.Put(t.Context(), "two dead", bytes.NewReader(content), file.PutOptions{}); !errors.Is(err, file.ErrTooFewPartitions) {
		t.Errorf("with two dead partitions: %v", err)
	}
	restore()
	other()
	r.awaitUsable(3)
	if _, err := r.read("two dead"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a file that could not be stored: %v", err)
	}
}

func TestCopyMovesNoContent(t *testing.T) {
	r := newRig(t, file.Options{})
	content := random(5*chunk, 1)
	r.put("a", content, file.PutOptions{ContentType: "text/plain"})
	written := r.Figures().ChunksWritten
	s, err := r.Service.Copy(t.Context(), r.open("a"), "b", file.PutOptions{Copies: 2})
	if err != nil || !s.Created || s.Entry.ContentType != "text/plain" || r.Figures().ChunksWritten != written {
		t.Errorf("copied %+v, %d chunks written: %v", s, r.Figures().ChunksWritten-written, err)
	}
	if _, err := r.Service.Delete(t.Context(), "a", nil); err != nil {
		t.Fatal(err)
	}
	r.wantContent("b", content)
	if _, err := r.Service.Copy(t.Context(), r.open("b"), "c", file.PutOptions{Copies: 3}); err != nil {
		t.Fatal(err)
	}
	for _, hash := range r.open("c").Chunks {
		if n := r.copies(hash); n != 3 {
			t.Errorf("a chunk of a copy with 3 copies has %d", n)
		}
	}
	if _, err := r.Service.Delete(t.Context(), "a", nil); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
}

// TestReadersSeeOnlyPublishedFiles reads a file that is overwritten all the time.
func TestReadersSeeOnlyPublishedFiles(t *testing.T) {
	r := newRig(t, file.Options{})
	var acknowledged sync.Map
	version := func(i uint64) []byte { return random(2*chunk+int(i), i) }
	record := func(content []byte) { acknowledged.Store(sha256.Sum256(content), true) }
	record(version(0))
	r.put("f", version(0), file.PutOptions{})
	ctx, stop := context.WithCancel(t.Context())
	var writers, readers sync.WaitGroup
	for w := range uint64(3) {
		writers.Go(func() {
			for i := range uint64(30) {
				content := version(1 + w*100 + i)
				record(content) // visible before it is acknowledged
				if _, err := r.Service.Put(t.Context(), "f", bytes.NewReader(content), file.PutOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var reads atomic.Int64
	for range 20 {
		readers.Go(func() {
			for ctx.Err() == nil {
				content, err := r.read("f")
				if _, known := acknowledged.Load(sha256.Sum256(content)); err != nil || !known {
					t.Errorf("read %d bytes that were never stored: %v", len(content), err)
					return
				}
				reads.Add(1)
			}
		})
	}
	writers.Wait()
	stop()
	readers.Wait()
	if reads.Load() < 20 {
		t.Errorf("only %d reads", reads.Load())
	}
}

func TestDamagedManifestsAreErrors(t *testing.T) {
	good := []byte(`{"size":3,"inline":true}` + "\nabc")
	if m, err := file.ParseManifest(good); err != nil || string(m.Content) != "abc" {
		t.Fatal(m, err)
	}
	for _, text := range []string{"", "{}", "{}\n", "{\n", `{"size":4,"inline":true}` + "\nabc", `{"size":3,"chunk_bytes":0}` + "\n",
		`{"size":3,"chunk_bytes":2}` + "\n" + string(make([]byte, 32)), `{"size":3,"chunk_bytes":2}` + "\n" + string(make([]byte, 65)),
		`{"size":3,"chunk_bytes":2,"parts":[2,2]}` + "\n" + string(make([]byte, 64))} {
		if _, err := file.ParseManifest([]byte(text)); !errors.Is(err, file.ErrManifest) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
