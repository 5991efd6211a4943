package files_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	gosync "sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/file"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
	"github.com/runnelkv/runnel/sync/files"
)

const (
	chunk = file.MinChunkBytes
	grace = 400 * time.Millisecond
)

// rig is a store over memory partitions with files and a keeper.
type rig struct {
	*store.Store
	files   *file.Service
	keeper  *files.Keeper
	parts   []*memory.Partition
	handles []*memory.Partition // of the process that start has begun
	t       *testing.T
}

func newRig(t *testing.T, n int) *rig {
	r := &rig{t: t}
	for i := range n {
		r.parts = append(r.parts, memory.New(fmt.Sprint("p", i)))
	}
	r.start()
	return r
}

// start opens a store over the partitions of the rig, as another process would.
func (r *rig) start() {
	r.t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	o := store.Options{Poll: 5 * time.Millisecond, Timeout: 2 * time.Second, Logger: quiet, Masters: []string{"p0"}}
	r.handles = nil
	for _, p := range r.parts {
		r.handles = append(r.handles, p.Reopen())
		o.Partitions = append(o.Partitions, r.handles[len(r.handles)-1])
	}
	s, err := store.Open(o)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	r.t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, s.Close()); err != nil {
			r.t.Error(err)
		}
	})
	r.Store = s
	if r.files, err = file.New(s, file.Options{ChunkBytes: chunk, Grace: grace, Logger: quiet}); err != nil {
		r.t.Fatal(err)
	}
	r.keeper = files.New(s, r.files, files.Options{Holder: "test", Logger: quiet, ScrubRate: 1 << 40, Interval: time.Minute})
	r.eventually("usable partitions", func() bool {
		for _, p := range s.Replicas() {
			if p.Err != nil {
				return false
			}
		}
		return s.Status().Partitions[0].Writable
	})
}

func (r *rig) eventually(what string, holds func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatal("never: ", what)
		}
	}
}

func (r *rig) put(name string, content []byte) *file.Stored {
	r.t.Helper()
	s, err := r.files.Put(r.t.Context(), name, bytes.NewReader(content), file.PutOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) pass() files.Status {
	r.t.Helper()
	if err := r.keeper.Pass(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	return r.keeper.Status()
}

// chunks lists the chunks of a partition.
func (r *rig) chunks(i int) []partition.ChunkInfo {
	r.t.Helper()
	infos, err := r.parts[i].ListChunks(r.t.Context(), nil, 100_000)
	if err != nil {
		r.t.Fatal(err)
	}
	return infos
}

func (r *rig) total() (n int) {
	for i := range r.parts {
		n += len(r.chunks(i))
	}
	return n
}

func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}).Read(b)
	return b
}

func (r *rig) wantContent(name string, want []byte) {
	r.t.Helper()
	f, _, err := r.files.Open(r.t.Context(), name, store.ReadOptions{Consistency: store.FromMaster})
	if err != nil {
		r.t.Fatal(err)
	}
	var b bytes.Buffer
	if err := f.WriteRange(r.t.Context(), &b, 0, f.Size, func() {}); err != nil || !bytes.Equal(b.Bytes(), want) {
		r.t.Errorf("%s: %d bytes and not the %d stored: %v", name, b.Len(), len(want), err)
	}
}

func TestUnusedChunksAreDroppedAfterTheGraceTime(t *testing.T) {
	r := newRig(t, 3)
	r.put("kept", random(4*chunk, 1))
	r.put("deleted", random(4*chunk, 2))
	r.put("overwritten", random(4*chunk, 3))
	r.put("overwritten", random(4*chunk, 4))
	if _, err := r.files.Delete(t.Context(), "deleted", nil); err != nil {
		t.Fatal(err)
	}
	if n := r.total(); n != 32 {
		t.Fatalf("%d chunks are stored", n)
	}
	if s := r.pass(); s.Unused != 16 || s.Dropped != 0 || s.Chunks != 8 {
		t.Errorf("the first pass: %+v", s)
	}
	if n := r.total(); n != 32 {
		t.Errorf("%d chunks after the first pass", n)
	}
	time.Sleep(grace)
	if s := r.pass(); s.Dropped != 16 {
		t.Errorf("the pass after the grace time: %+v", s)
	}
	if n := r.total(); n != 16 {
		t.Errorf("%d chunks are left", n)
	}
	r.wantContent("kept", random(4*chunk, 1))
	r.wantContent("overwritten", random(4*chunk, 4))
}

// TestUsedChunksAreNotDropped: a chunk that an upload uses again after it was marked stays, although the
// manifest is not yet there when its time is over.
func TestUsedChunksAreNotDropped(t *testing.T) {
	r := newRig(t, 3)
	content := random(4*chunk, 1)
	r.put("f", content)
	if _, err := r.files.Delete(t.Context(), "f", nil); err != nil {
		t.Fatal(err)
	}
	r.pass()
	for i := range 5 {
		time.Sleep(grace / 2)
		_, err := r.files.Put(t.Context(), "again", bytes.NewReader(content), file.PutOptions{Verify: func(file.Summary) error {
			return errors.New("not published")
		}})
		if err == nil {
			t.Fatal("published")
		}
		if s := r.pass(); s.Dropped != 0 {
			t.Fatalf("pass %d: %+v", i, s)
		}
	}
	r.put("again", content)
	time.Sleep(grace)
	r.pass()
	r.wantContent("again", content)
}

// TestCollectionLosesNoChunkOfAnUpload overwrites and deletes files of few contents, which use chunks again that are about to be
// collected, while passes run one after the other.
func TestCollectionLosesNoChunkOfAnUpload(t *testing.T) {
	const writers = 4
	uploads := 60
	if os.Getenv("RUNNEL_TEST_LONG") == "1" {
		uploads = 2500 // 10,000 in all
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 3)
		var group gosync.WaitGroup
		var reused atomic.Int64
		for w := range writers {
			rnd := rand.New(rand.NewPCG(uint64(w), 7))
			group.Go(func() {
				name := fmt.Sprint("f", w)
				for range uploads {
					content := random(2*chunk, rnd.Uint64N(6))
					if r.isStored(content) {
						reused.Add(1)
					}
					slow := file.PutOptions{Verify: func(file.Summary) error { // between the chunks and the manifest
						time.Sleep(time.Duration(rnd.Int64N(int64(2 * grace))))
						return nil
					}}
					if _, err := r.files.Put(t.Context(), name, bytes.NewReader(content), slow); errors.Is(err, file.ErrNoCopy) {
						continue // the upload took so long that the chunks were collected, and nothing was published
					} else if err != nil {
						t.Error(err)
					}
					r.wantContent(name, content)
					if rnd.IntN(2) == 0 {
						if _, err := r.files.Delete(t.Context(), name, nil); err != nil {
							t.Error(err)
						}
						time.Sleep(time.Duration(rnd.Int64N(int64(2 * grace))))
					}
				}
				r.put(name, random(2*chunk, 0))
			})
		}
		ended := make(chan struct{})
		go func() { group.Wait(); close(ended) }()
		for running := true; running; {
			r.pass()
			select {
			case <-ended:
				running = false
			case <-time.After(grace / 20):
			}
		}
		for w := range writers {
			r.wantContent(fmt.Sprint("f", w), random(2*chunk, 0))
		}
		dropped := r.keeper.Status().Dropped
		if dropped < int64(uploads)/5 || reused.Load() < int64(uploads)/5 {
			t.Errorf("only %d chunks were dropped and %d used again", dropped, reused.Load())
		}
		t.Logf("%d uploads, %d of stored chunks; %d chunks were dropped", writers*uploads, reused.Load(), dropped)
	})
}

// isStored reports whether the first chunk of a content is on a partition.
func (r *rig) isStored(content []byte) bool {
	for _, p := range r.parts {
		if _, err := p.GetChunk(r.t.Context(), partition.HashChunk(content[:chunk]), nil); err == nil {
			return true
		}
	}
	return false
}

func TestReturningPartitionGetsItsCopies(t *testing.T) {
	r := newRig(t, 3)
	for i := range uint64(5) {
		r.put(fmt.Sprint("f", i), random(5*chunk, i))
	}
	before := r.total()
	infos := r.chunks(2)
	if _, err := r.parts[2].DropChunks(t.Context(), infos); err != nil { // it returns empty
		t.Fatal(err)
	}
	if s := r.pass(); s.Copied != int64(len(infos)) || s.Missing != 0 || r.total() != before {
		t.Errorf("%d chunks of %d, after a pass: %+v", r.total(), before, s)
	}
	for _, info := range r.chunks(2) {
		if data, err := r.parts[2].GetChunk(t.Context(), info.Hash, nil); err != nil || partition.HashChunk(data) != info.Hash {
			t.Errorf("a restored chunk: %v", err)
		}
	}
}

func TestNewPartitionTakesItsShare(t *testing.T) {
	r := newRig(t, 2)
	content := random(40*chunk, 1)
	r.put("f", content)
	r.parts = append(r.parts, memory.New("p2"))
	r.start()
	r.pass()
	share := len(r.chunks(2))
	if share < 10 || share > 40 || r.total() != 80+share {
		t.Errorf("the new partition holds %d chunks of %d", share, r.total())
	}
	time.Sleep(grace)
	r.pass()
	if n := r.total(); n != 80 {
		t.Errorf("%d chunks are stored, want two copies of 40", n)
	}
	r.wantContent("f", content)
}

func TestScrubRestoresDamagedCopies(t *testing.T) {
	r := newRig(t, 3)
	content := random(6*chunk, 1)
	r.put("f", content)
	damaged := 0
	for i, p := range r.parts {
		for n, info := range r.chunks(i) {
			data, err := p.GetChunk(t.Context(), info.Hash, nil)
			if err != nil {
				t.Fatal(err)
			}
			if data[7] ^= 1; n == 0 {
				if whole, err := r.files.ReadChunk(t.Context(), info.Hash, chunk, 2); err != nil || len(whole) != chunk {
					t.Fatal(err)
				}
				if err := p.PutChunk(t.Context(), info.Hash, data); err != nil {
					t.Fatal(err)
				}
				damaged++
				r.pass()
			}
		}
	}
	if n := r.files.Figures(); n.Damaged != int64(damaged) || n.Repaired != int64(damaged) {
		t.Errorf("%d copies were damaged: %+v", damaged, n)
	}
	if s := r.keeper.Status(); s.VerifiedAt.IsZero() {
		t.Errorf("after complete rounds: %+v", s)
	}
	r.wantContent("f", content)
}

func TestLostChunksAreCounted(t *testing.T) {
	r := newRig(t, 3)
	r.put("f", random(4*chunk, 1))
	for i, p := range r.parts {
		if _, err := p.DropChunks(t.Context(), r.chunks(i)); err != nil {
			t.Fatal(err)
		}
	}
	if s := r.pass(); s.Lost != 4 {
		t.Errorf("with every chunk gone: %+v", s)
	}
}

func TestSecondKeeperStandsBy(t *testing.T) {
	r := newRig(t, 3)
	r.put("f", random(chunk+1, 1)) // without files and chunks there is no work
	r.pass()
	other := files.New(r.Store, r.files, files.Options{Holder: "other", Logger: slog.New(slog.DiscardHandler), Interval: time.Minute})
	if err := other.Pass(t.Context()); err == nil || !other.Status().Standby {
		t.Errorf("a second keeper worked too: %v %+v", err, other.Status())
	}
}
