package partitiontest

import (
	"bytes"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

var chunkChecks = []check{
	{"ChunkIsReadAsItWasPut", checkChunkPut},
	{"ChunkReplacesDamagedData", checkChunkReplaced},
	{"ChunksOfForbiddenSizesAreRefused", checkChunkSizes},
	{"ChunksSurviveARestart", checkChunksRestart},
	{"TouchNamesTheMissingChunks", checkChunkTouch},
	{"EachUseOfAChunkIsLater", checkChunkUses},
	{"ChunksAreListedInTheOrderOfTheirHashes", checkChunkList},
	{"DropLeavesChunksThatWereUsedSince", checkChunkDrop},
	{"DropAndUseOfAChunkRunOneAfterAnother", checkChunkRaces},
}

// chunkOf returns a chunk with n bytes of b, and its hash.
func chunkOf(b byte, n int) (partition.ChunkHash, []byte) {
	data := bytes.Repeat([]byte{b}, n)
	return partition.HashChunk(data), data
}

func putChunk(t *testing.T, p partition.Partition, b byte) partition.ChunkHash {
	t.Helper()
	hash, data := chunkOf(b, 100)
	must(t, p.PutChunk(t.Context(), hash, data))
	return hash
}

func wantChunk(t *testing.T, p partition.Partition, hash partition.ChunkHash, want []byte) {
	t.Helper()
	got, err := p.GetChunk(t.Context(), hash, nil)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("a chunk of %d bytes reads as %d others", len(want), len(got))
	}
}

func listChunks(t *testing.T, p partition.Partition) []partition.ChunkInfo {
	t.Helper()
	infos, err := p.ListChunks(t.Context(), nil, 1000)
	must(t, err)
	return infos
}

func checkChunkPut(t *testing.T, s suite) {
	p := s.node(t, beta)
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, data := range [][]byte{{0}, []byte("'\"\\\x1a?"), every, bytes.Repeat(every, partition.MaxChunkBytes/256)} {
		hash := partition.HashChunk(data)
		_, err := p.GetChunk(t.Context(), hash, nil)
		wantError(t, err, partition.ErrNoChunk)
		must(t, p.PutChunk(t.Context(), hash, data))
		wantChunk(t, p, hash, data)
	}
	if list, _, err := p.List(t.Context(), partition.Span{Limit: 10}); err != nil || len(list) != 0 {
		t.Errorf("chunks are listed as entries: %v %v", list, err)
	}
}

func checkChunkReplaced(t *testing.T, s suite) {
	p := s.node(t, beta)
	hash, data := chunkOf('a', 5000)
	damaged := bytes.Clone(data)
	damaged[4000] = 'b'
	must(t, p.PutChunk(t.Context(), hash, damaged))
	wantChunk(t, p, hash, damaged)
	must(t, p.PutChunk(t.Context(), hash, data))
	wantChunk(t, p, hash, data)
	must(t, p.PutChunk(t.Context(), hash, data[:10]))
	must(t, p.PutChunk(t.Context(), hash, data))
	if list := listChunks(t, p); len(list) != 1 || list[0].Hash != hash || list[0].Size != 5000 {
		t.Errorf("listed as %+v", list)
	}
}

func checkChunkSizes(t *testing.T, s suite) {
	p := s.node(t, beta)
	hash, data := chunkOf('a', partition.MaxChunkBytes+1)
	wantError(t, p.PutChunk(t.Context(), hash, data), partition.ErrTooLarge)
	if p.PutChunk(t.Context(), hash, nil) == nil {
		t.Error("an empty chunk was stored")
	}
	many := make([]partition.ChunkHash, partition.MaxTouchedChunks+1)
	if _, err := p.TouchChunks(t.Context(), many); err == nil {
		t.Error("too many chunks were touched")
	}
	if _, err := p.DropChunks(t.Context(), make([]partition.ChunkInfo, len(many))); err == nil {
		t.Error("too many chunks were dropped")
	}
	if _, err := p.ListChunks(t.Context(), nil, 0); err == nil {
		t.Error("a list without a limit succeeded")
	}
	if list := listChunks(t, p); len(list) != 0 {
		t.Errorf("refused chunks were stored: %+v", list)
	}
}

func checkChunksRestart(t *testing.T, s suite) {
	n := s.node(t, beta)
	hash, data := chunkOf('a', 70_000)
	must(t, n.PutChunk(t.Context(), hash, data))
	before := listChunks(t, n)
	must(t, n.Close())
	p := n.open(t)
	wantChunk(t, p, hash, data)
	if after := listChunks(t, p); !slices.Equal(before, after) {
		t.Errorf("listed as %+v, and before as %+v", after, before)
	}
}

func checkChunkTouch(t *testing.T, s suite) {
	p := s.node(t, beta)
	a, c := putChunk(t, p, 'a'), putChunk(t, p, 'c')
	b, _ := chunkOf('b', 100)
	d, _ := chunkOf('d', 100)
	missing, err := p.TouchChunks(t.Context(), []partition.ChunkHash{d, c, b, a})
	must(t, err)
	if !slices.Equal(missing, []partition.ChunkHash{d, b}) {
		t.Errorf("%v are missing, want %v", missing, []partition.ChunkHash{d, b})
	}
	missing, err = p.TouchChunks(t.Context(), nil)
	if err != nil || len(missing) != 0 {
		t.Errorf("no chunks: %v %v", missing, err)
	}
}

func checkChunkUses(t *testing.T, s suite) {
	p := s.node(t, beta)
	before := now(t, p)
	hash := putChunk(t, p, 'a')
	last := listChunks(t, p)[0].TouchedAt
	if last < before || last > now(t, p) {
		t.Errorf("used at %d, between %d and %d", last, before, now(t, p))
	}
	for i := range 20 {
		if i%2 == 0 {
			_, err := p.TouchChunks(t.Context(), []partition.ChunkHash{hash})
			must(t, err)
		} else {
			putChunk(t, p, 'a')
		}
		used := listChunks(t, p)[0].TouchedAt
		if used <= last {
			t.Fatalf("a use at %d after a use at %d", used, last)
		}
		last = used
	}
}

func checkChunkList(t *testing.T, s suite) {
	p := s.node(t, beta)
	var hashes []partition.ChunkHash
	for b := range byte(25) {
		hashes = append(hashes, putChunk(t, p, b))
	}
	slices.SortFunc(hashes, func(a, b partition.ChunkHash) int { return bytes.Compare(a[:], b[:]) })
	var got []partition.ChunkHash
	var after *partition.ChunkHash
	for len(got) <= len(hashes) {
		page, err := p.ListChunks(t.Context(), after, 7)
		must(t, err)
		if len(page) == 0 {
			break
		}
		if len(page) > 7 {
			t.Fatalf("a page of %d", len(page))
		}
		for _, info := range page {
			if got = append(got, info.Hash); info.Size != 100 {
				t.Errorf("a chunk of 100 bytes has %d", info.Size)
			}
		}
		after = &got[len(got)-1]
	}
	if !slices.Equal(got, hashes) {
		t.Errorf("listed %v, want %v", got, hashes)
	}
}

func checkChunkDrop(t *testing.T, s suite) {
	p := s.node(t, beta)
	a, b, c := putChunk(t, p, 'a'), putChunk(t, p, 'b'), putChunk(t, p, 'c')
	listed := listChunks(t, p)
	_, err := p.TouchChunks(t.Context(), []partition.ChunkHash{b})
	must(t, err)
	putChunk(t, p, 'c')
	unknown, _ := chunkOf('u', 100)
	dropped, err := p.DropChunks(t.Context(), append(listed, partition.ChunkInfo{Hash: unknown, TouchedAt: 1}))
	if dropped != 1 || err != nil {
		t.Errorf("%d chunks were dropped: %v", dropped, err)
	}
	_, err = p.GetChunk(t.Context(), a, nil)
	wantError(t, err, partition.ErrNoChunk)
	for _, hash := range []partition.ChunkHash{b, c} {
		if _, err := p.GetChunk(t.Context(), hash, nil); err != nil {
			t.Errorf("a chunk that was used since: %v", err)
		}
	}
	if left := listChunks(t, p); len(left) != 2 {
		t.Errorf("left are %+v", left)
	}
}

// checkChunkRaces drops a chunk as listed while others use it. A use that found the chunk keeps it.
func checkChunkRaces(t *testing.T, s suite) {
	n := s.node(t, beta)
	other := n.open(t)
	hash := putChunk(t, n, 'a')
	for round := range 30 {
		listed := listChunks(t, n)
		var kept atomic.Bool
		together(t,
			func() error { _, err := n.DropChunks(t.Context(), listed); return err },
			func() error {
				if round%2 == 0 {
					_, data := chunkOf('a', 100)
					kept.Store(true)
					return other.PutChunk(t.Context(), hash, data)
				}
				missing, err := other.TouchChunks(t.Context(), []partition.ChunkHash{hash})
				kept.Store(len(missing) == 0)
				return err
			})
		_, err := n.GetChunk(t.Context(), hash, nil)
		if held := err == nil; held != kept.Load() || !held && !errors.Is(err, partition.ErrNoChunk) {
			t.Fatalf("round %d: a chunk that the last user found: %t; now %v", round, kept.Load(), err)
		}
		if (len(listChunks(t, n)) == 1) != kept.Load() {
			t.Fatalf("round %d: list and data differ", round)
		}
		putChunk(t, n, 'a')
	}
}
