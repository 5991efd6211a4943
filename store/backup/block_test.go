package backup

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/store/partition"
)

// FuzzBlock: any payload is decoded to entries that encode to the same, or refused. The memory for
// it is in proportion to the payload.
func FuzzBlock(f *testing.F) {
	whole := appendBlock(nil, block{"a", []partition.Entry{
		{Key: "k/a", Origin: "a", Revision: 7, ContentType: "text/plain", Value: []byte("v"), Size: 1, Checksum: 3, ModifiedAt: 9, ExpiresAt: 12},
		{Key: "k/b", Origin: "a", Revision: 8, ContentType: "text/plain", Metadata: []byte("{}"), Value: []byte{}},
		{Key: "k/c", Origin: "a", Revision: 9, Deleted: true, Value: []byte{}, ModifiedAt: -1},
	}})
	for n := range len(whole) + 1 {
		f.Add(whole[:n])
	}
	f.Add(binary.AppendUvarint([]byte{1, 'a'}, 1<<62))
	f.Fuzz(func(t *testing.T, payload []byte) {
		k, err := parseBlock(payload)
		if err != nil {
			return
		}
		again, err := parseBlock(appendBlock(nil, k))
		if diff := cmp.Diff(k.entries, again.entries); err != nil || k.origin != again.origin || diff != "" {
			t.Errorf("%v: %s", err, diff)
		}
	})
}

// TestBlockHoldsALargeValue: a value that is larger than a block.
func TestBlockHoldsALargeValue(t *testing.T) {
	value := make([]byte, 5*blockBytes)
	rand.NewChaCha8([32]byte{1}).Read(value)
	e := partition.Entry{Key: "k/a", Origin: "a", Revision: 1, Value: value, Size: int64(len(value)), Checksum: partition.Checksum(value)}
	k, err := parseBlock(appendBlock(nil, block{"a", []partition.Entry{e}}))
	if err != nil || !reflect.DeepEqual([]partition.Entry{e}, k.entries) {
		t.Errorf("%v: %d entries", err, len(k.entries))
	}
}

// FuzzReader: a file with right checksums but any header and block is read or refused.
func FuzzReader(f *testing.F) {
	f.Add([]byte(`{"id":"1","cluster_id":"2","epoch":1,"masters":["a"],"slots":[0],"origins":[{"name":"a","revision":9,"goal":9}]}`),
		appendBlock(nil, block{"a", []partition.Entry{{Key: "k/a", Revision: 9, Checksum: partition.Checksum(nil)}}}), []byte(`{"blocks":1}`))
	f.Fuzz(func(t *testing.T, header, payload, footer []byte) {
		var file bytes.Buffer
		w, err := newFrameWriter(&file)
		for i, kind := range []frameKind{headerFrame, blockFrame, footerFrame} {
			if err == nil {
				_, err = w.writeFrame(kind, [][]byte{header, payload, footer}[i])
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		_, _ = Check(&file, nil)
	})
}

// endless is a partition whose view holds many entries, made as they are read.
type endless struct {
	partition.Partition
	left int
	rng  *rand.Rand
}

func (p *endless) Name() string                                 { return "a" }
func (p *endless) Kind() string                                 { return "endless" }
func (p *endless) Barrier(context.Context) error                { return nil }
func (p *endless) View(context.Context) (partition.View, error) { return endlessView{p: p}, nil }

type endlessView struct {
	partition.View
	p *endless
}

func (v endlessView) Close() error { return nil }
func (v endlessView) Cluster() partition.Cluster {
	return partition.Cluster{ID: "c", Name: "a", Epoch: 1, Masters: []string{"a"}, Slots: []uint16{0}}
}

func (v endlessView) Positions() partition.Positions {
	return partition.Positions{Now: 1, Origins: map[partition.Origin]partition.Position{"a": {Origin: "a", Revision: 1 << 40, SyncedAt: 1}}}
}

func (v endlessView) Snapshot(context.Context, partition.Origin, partition.Revision) (partition.Snapshot, error) {
	return &endlessSnapshot{p: v.p}, nil
}

type endlessSnapshot struct {
	partition.Snapshot
	p  *endless
	at partition.Revision
}

func (s *endlessSnapshot) Close() error { return nil }

func (s *endlessSnapshot) Next(_ context.Context, _ int, maxBytes int64) (entries []partition.Entry, err error) {
	for s.p.left > 0 && maxBytes > 0 {
		value := make([]byte, 64<<10)
		for i := range value[:1<<10] {
			value[i] = byte(s.p.rng.IntN(256))
		}
		s.at++
		entries = append(entries, partition.Entry{Key: "k/a", Origin: "a", Revision: s.at, Value: value, Size: int64(len(value)), Checksum: partition.Checksum(value)})
		s.p.left, maxBytes = s.p.left-1, maxBytes-int64(len(value))
	}
	if len(entries) == 0 {
		return nil, io.EOF
	}
	return entries, nil
}

// TestMemoryDoesNotGrowWithTheBackup writes and checks 256 MiB of values through a pipe.
func TestMemoryDoesNotGrowWithTheBackup(t *testing.T) {
	const limit = 64 << 20
	p := &endless{left: 4096, rng: rand.New(rand.NewPCG(1, 1))}
	r, w := io.Pipe()
	defer r.Close()
	go func() {
		_, err := Write(t.Context(), p, w, Options{})
		w.CloseWithError(err)
	}()
	var most uint64
	blocks := 0
	s, err := Check(r, func(int) {
		if blocks++; blocks%8 != 0 {
			return
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapAlloc)
	})
	if err != nil || s.Bytes != 256<<20 {
		t.Errorf("%d bytes, %v", s.Bytes, err)
	}
	if most > limit {
		t.Errorf("%d MiB were in use", most>>20)
	}
	t.Logf("at most %d MiB in use", most>>20)
}
