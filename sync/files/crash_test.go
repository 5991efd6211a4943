package files_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/file"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// errKilled: the process of the handle was killed.
var errKilled = fmt.Errorf("%w: killed", partition.ErrUnavailable)

// changes are the operations at which killAt counts.
var changes = map[string]bool{
	memory.OpPutChunk: true, memory.OpTouchChunks: true, memory.OpDropChunks: true,
	memory.OpCommit: true, memory.OpCommitted: true, memory.OpApply: true, memory.OpApplied: true,
}

// killAt kills the process of the rig at change n, counted from 0: before the change, or after the change and before the
// answer. No later operation of the process reaches a partition.
func (r *rig) killAt(n int) (killed func() bool) {
	var count atomic.Int64
	var dead atomic.Bool
	for _, h := range r.handles {
		h.Fail(func(op string) error {
			if changes[op] && count.Add(1) > int64(n) {
				dead.Store(true)
			}
			if dead.Load() {
				return errKilled
			}
			return nil
		})
	}
	return dead.Load
}

// interruption is work that is killed at each change.
type interruption struct {
	prepare func(r *rig)
	work    func(r *rig) error
	after   string // the content, besides the former, that the file may have; of the former alone if empty
}

const (
	former = "former"
	next   = "next"
)

// contents are the contents of the file. Both have two chunks in common.
var contents = map[string][]byte{
	former: append(random(20*chunk, 1), random(2*chunk, 2)...),
	next:   append(random(2*chunk, 2), random(2*chunk+3, 3)...),
}

func (r *rig) upload(content string) error {
	_, err := r.files.Put(r.t.Context(), "f", bytes.NewReader(contents[content]), file.PutOptions{})
	return err
}

// passes makes the passes that drop unused chunks.
func (r *rig) passes() error {
	err := r.keeper.Pass(r.t.Context())
	time.Sleep(grace)
	return errors.Join(err, r.keeper.Pass(r.t.Context()))
}

var interruptions = map[string]interruption{
	"upload": {func(*rig) {}, func(r *rig) error { return r.upload(next) }, next},
	"upload of chunks that are collected": {
		func(r *rig) {
			r.put("g", contents[next])
			if _, err := r.files.Delete(r.t.Context(), "g", nil); err != nil {
				r.t.Fatal(err)
			}
			r.pass()
			time.Sleep(grace)
		},
		func(r *rig) error {
			collected := make(chan error, 1)
			go func() { collected <- r.keeper.Pass(r.t.Context()) }()
			err := r.upload(next)
			return errors.Join(err, <-collected)
		}, next,
	},
	"collection": {
		func(r *rig) { r.put("g", random(3*chunk, 9)); _, _ = r.files.Delete(r.t.Context(), "g", nil) },
		(*rig).passes, "",
	},
	"hand-off": {
		func(r *rig) {
			for i := range r.parts[1:] {
				if infos := r.chunks(i + 1); len(infos) > 0 {
					_, err := r.parts[i+1].DropChunks(r.t.Context(), infos)
					if err != nil {
						r.t.Fatal(err)
					}
					return
				}
			}
		},
		(*rig).passes, "",
	},
	"deletion of the rest": {func(r *rig) { r.put("g", contents[former]) }, func(r *rig) error {
		_, err := r.files.Delete(r.t.Context(), "g", nil)
		return errors.Join(err, r.passes())
	}, ""},
}

// TestKilledProcessLeavesWholeFiles kills a process at each change of uploads, collections and hand-offs. The file has the former
// or the next content, and the next content if the upload was acknowledged; every chunk has all copies, nothing else is stored
// after the grace time, and the name can be written.
func TestKilledProcessLeavesWholeFiles(t *testing.T) {
	for name, i := range interruptions {
		t.Run(name, func(t *testing.T) {
			killed, n := true, 0
			for ; killed; n++ {
				t.Run(fmt.Sprint("change ", n), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { killed = interrupt(t, i, n) })
				})
			}
			if n < 3 {
				t.Errorf("killed at %d changes only", n-1)
			}
		})
	}
}

// interrupt reports whether the work was killed at change n. false: the work ended before.
func interrupt(t *testing.T, i interruption, n int) bool {
	r := newRig(t, 3)
	r.put("f", contents[former])
	i.prepare(r)
	killed := r.killAt(n)
	err := i.work(r)
	wasKilled := killed()
	if err != nil && !wasKilled {
		t.Fatal(err)
	}
	r.killAt(0) // what the work has left running
	r.start()
	if err := r.passes(); err != nil {
		t.Fatal(err)
	}
	r.wantNoOrphans("f")
	r.wantEither(err == nil && i.after != "", i.after)
	if v, err := r.verify("f"); err != nil || !v.IsClean() || v.Repaired != 0 {
		t.Errorf("verified: %+v, %v", v, err)
	}
	if err := r.upload(next); err != nil {
		t.Errorf("the name cannot be written: %v", err)
	}
	r.wantContent("f", contents[next])
	return wasKilled
}

func (r *rig) open(name string) *file.File {
	r.t.Helper()
	f, _, err := r.files.Open(r.t.Context(), name, store.ReadOptions{Consistency: store.FromMaster})
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

func (r *rig) verify(name string) (*file.Verification, error) {
	r.t.Helper()
	return r.open(name).Verify(r.t.Context())
}

// wantEither compares the file with the former content and that of after; only the latter counts after an acknowledgement.
func (r *rig) wantEither(acknowledged bool, after string) {
	r.t.Helper()
	f := r.open("f")
	var b bytes.Buffer
	if err := f.WriteRange(r.t.Context(), &b, 0, f.Size, func() {}); err != nil {
		r.t.Fatal(err)
	}
	isFormer, isNext := bytes.Equal(b.Bytes(), contents[former]), after != "" && bytes.Equal(b.Bytes(), contents[after])
	if !isNext && (acknowledged || !isFormer) {
		r.t.Errorf("the file has %d bytes, acknowledged: %t", b.Len(), acknowledged)
	}
}

// wantNoOrphans expects the chunks of a file on as many partitions as the file has copies, and no other chunks.
func (r *rig) wantNoOrphans(name string) {
	r.t.Helper()
	f := r.open(name)
	held := map[partition.ChunkHash]int{}
	for _, hash := range f.Chunks {
		held[hash] = 0
	}
	for i := range r.parts {
		for _, info := range r.chunks(i) {
			if _, named := held[info.Hash]; !named {
				r.t.Errorf("partition %d keeps chunk %s, which no file has", i, info.Hash)
			}
			held[info.Hash]++
		}
	}
	for hash, n := range held {
		if n != f.Copies {
			r.t.Errorf("chunk %s has %d copies, want %d", hash, n, f.Copies)
		}
	}
}
