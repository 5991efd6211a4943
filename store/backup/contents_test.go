package backup_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/runnelkv/runnel/store/backup"
	"github.com/runnelkv/runnel/store/partition"
)

// chunksOf are contents of files: chunks that follow the entries of a backup.
type chunksOf struct {
	chunks [][]byte
	noted  int
	failed error
}

func (c *chunksOf) Note(*partition.Entry) { c.noted++ }

func (c *chunksOf) Each(_ context.Context, write func([]byte) error) error {
	for _, data := range c.chunks {
		if err := write(data); err != nil {
			return err
		}
	}
	return c.failed
}

func chunksFrom(first byte) *chunksOf {
	return &chunksOf{chunks: [][]byte{{first}, bytes.Repeat([]byte{first + 1}, partition.MaxChunkBytes), []byte("same")}}
}

func wantChunks(t *testing.T, p partition.Partition, contents ...*chunksOf) {
	t.Helper()
	want := map[partition.ChunkHash][]byte{}
	for _, c := range contents {
		for _, data := range c.chunks {
			want[partition.HashChunk(data)] = data
		}
	}
	infos, err := p.ListChunks(t.Context(), nil, 100)
	must(t, err)
	if len(infos) != len(want) {
		t.Errorf("%d chunks, want %d", len(infos), len(want))
	}
	for hash, data := range want {
		if got, err := p.GetChunk(t.Context(), hash, nil); err != nil || !bytes.Equal(got, data) {
			t.Errorf("chunk %s: %d bytes, %v", hash, len(got), err)
		}
	}
}

// TestContentsOfFilesAreRestored restores a chain with chunks, also after an interruption amid the chunks.
func TestContentsOfFilesAreRestored(t *testing.T) {
	onEveryKind(t, func(t *testing.T, create func(string) partition.Partition) {
		p := create("a")
		found(t, p, "a")
		w := newWriter(t, p, 50)
		w.fill(t)
		first, second := chunksFrom(1), chunksFrom(10)
		full, base := take(t, p, backup.Options{Contents: first})
		if base.Chunks != 3 || base.ChunkBytes != partition.MaxChunkBytes+5 || !base.Contents || int64(first.noted) != base.Entries {
			t.Errorf("the backup is %+v, %d entries were noted", base, first.noted)
		}
		must(t, w.write(t.Context(), 0, 10))
		part, _ := take(t, p, backup.Options{Since: &base, Contents: second})
		summary, err := backup.Check(bytes.NewReader(part), nil)
		if err != nil || summary.Chunks != 3 {
			t.Errorf("checked: %+v, %v", summary.Footer, err)
		}
		other := create("b")
		must(t, other.Prepare(t.Context()))
		chain := make([]*backup.Reader, 2)
		for i, file := range [][]byte{full, part} {
			source := bytes.NewReader(file)
			if i == 1 { // the second file breaks off amid its chunks
				source = bytes.NewReader(file[:len(file)-600])
			}
			chain[i], err = backup.NewReader(source)
			must(t, err)
			defer chain[i].Close()
		}
		if _, err := backup.Restore(t.Context(), other, chain, nil); err == nil {
			t.Error("a file that breaks off was restored")
		}
		done, err := restore(t, other, full, part)
		if err != nil || !done.Continued {
			t.Errorf("continued: %+v, %v", done.Continued, err)
		}
		wantChunks(t, other, first, second)
		wantSame(t, p, other)
	})
}

func wantSame(t *testing.T, a, b partition.Partition) {
	t.Helper()
	rows, _, _ := rowsOf(t, a)
	got, _, _ := rowsOf(t, b)
	wantRows(t, got, rows)
}

// TestChunksThatAreNotExpectedAreRefused: no chunk is too large, and a failure of the source ends the backup.
func TestChunksThatAreNotExpectedAreRefused(t *testing.T) {
	onEveryKind(t, func(t *testing.T, create func(string) partition.Partition) {
		p := create("a")
		found(t, p, "a")
		failed := errors.New("failed")
		for _, c := range []*chunksOf{{chunks: [][]byte{{}}}, {chunks: [][]byte{make([]byte, partition.MaxChunkBytes+1)}}, {failed: failed}} {
			if _, err := backup.Write(t.Context(), p, &bytes.Buffer{}, backup.Options{Contents: c}); err == nil || c.failed != nil && !errors.Is(err, failed) {
				t.Errorf("%d chunks: %v", len(c.chunks), err)
			}
		}
	})
}
