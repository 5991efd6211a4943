package backup

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/runnelkv/runnel/store/partition"
)

// Options of a backup.
type Options struct {
	Since      *Summary        // the base of an incremental backup; nil: a full backup
	Incomplete bool            // accept a partition that is being filled or amid a catch-up
	Version    string          // of the program, for the header
	Progress   func(added int) // called after each block with the number of its entries; may be nil
	Contents   Contents        // of files; nil: the backup has none
}

// Contents finds the contents of files.
type Contents interface {
	// Note is called with each entry of the backup.
	Note(e *partition.Entry)
	// Each calls write with the data of each chunk that the entries name. The first error of write ends the calls and is returned.
	Each(ctx context.Context, write func(data []byte) error) error
}

// ErrDamaged: the partition holds an entry with a wrong checksum.
var ErrDamaged = errors.New("the partition is damaged")

// Write writes a backup of p to w, as of the moment at which Write opens its view. Writers and
// copies go on meanwhile. The backup holds nothing that a crash of the partition's server can take
// back.
//
// The backup is useless unless Write succeeds. ErrIncomplete: see Options. ErrBase: the base does not
// fit. ErrDamaged: an entry's value does not match its checksum. partition.ErrSetBack: p lacks
// entries of the base. Other errors are those of p and w.
func Write(ctx context.Context, p partition.Partition, w io.Writer, o Options) (Summary, error) {
	v, err := p.View(ctx)
	if err != nil {
		return Summary{}, err
	}
	defer v.Close()
	b := writing{view: v, progress: o.Progress, contents: o.Contents, Summary: Summary{Header: headerOf(v, p.Kind())}}
	b.Header.Contents = o.Contents != nil
	b.Version, b.Newest = o.Version, make(map[partition.Origin][]Mark)
	if err := b.checkSource(ctx, p, o); err != nil {
		return Summary{}, err
	}
	if err := p.Barrier(ctx); err != nil {
		return Summary{}, err
	}
	if b.frames, err = newFrameWriter(w); err != nil {
		return Summary{}, err
	}
	return b.Summary, b.writeFile(ctx)
}

// writing is a Write in progress.
type writing struct {
	Summary  // so far
	view     partition.View
	frames   *frameWriter
	payload  []byte // of a block; the memory is reused
	progress func(int)
	contents Contents // may be nil
}

// checkSource checks that the partition can be backed up as the options say.
func (b *writing) checkSource(ctx context.Context, p partition.Partition, o Options) error {
	if b.Epoch < 1 {
		return fmt.Errorf("%w: a backup is being restored to %s", partition.ErrRefused, p.Name())
	}
	if !o.Incomplete {
		if err := b.checkWhole(); err != nil {
			return err
		}
	}
	if o.Since == nil {
		return nil
	}
	if err := b.setBase(&o.Since.Header); err != nil {
		return err
	}
	for origin, newest := range o.Since.Newest {
		b.Newest[origin] = newest
		if err := partition.CheckLineage(ctx, p, origin, entriesOf(origin, newest)); err != nil {
			return fmt.Errorf("%w; take a full backup", err)
		}
	}
	return nil
}

// entriesOf returns the marks as the heads of entries.
func entriesOf(origin partition.Origin, marks []Mark) (entries []partition.Entry) {
	for _, m := range marks {
		entries = append(entries, partition.Entry{Key: partition.Key(m.Key), Origin: origin, Revision: m.Revision, ModifiedAt: m.ModifiedAt})
	}
	return entries
}

func (b *writing) writeFile(ctx context.Context) error {
	if _, err := b.writeJSON(headerFrame, b.Header); err != nil {
		return err
	}
	for _, o := range b.Origins {
		if err := b.writeOrigin(ctx, o); err != nil {
			return err
		}
	}
	if b.contents != nil {
		if err := b.contents.Each(ctx, b.writeChunk); err != nil {
			return err
		}
	}
	b.Digest = digestText(b.frames.digest.Sum64())
	n, err := b.writeJSON(footerFrame, b.Footer)
	if err != nil {
		return err
	}
	return b.frames.writeTrailer(n)
}

func digestText(sum uint64) string { return strconv.FormatUint(sum, 16) }

func (b *writing) writeJSON(kind frameKind, document any) (int, error) {
	text, err := json.Marshal(document)
	if err != nil {
		return 0, err
	}
	return b.frames.writeFrame(kind, text)
}

// writeOrigin writes the entries of an origin.
func (b *writing) writeOrigin(ctx context.Context, o Origin) error {
	snap, err := b.view.Snapshot(ctx, o.Name, o.Since)
	if err != nil {
		return err
	}
	defer snap.Close()
	for {
		entries, err := snap.Next(ctx, blockEntries, blockBytes)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := b.writeBlock(block{o.Name, entries}); err != nil {
			return err
		}
	}
}

func (b *writing) writeBlock(k block) error {
	for i := range k.entries {
		if e := &k.entries[i]; !e.Intact() {
			return fmt.Errorf("%w: the value of %q does not match its checksum: back up another partition, or write the key again", ErrDamaged, e.Key)
		}
	}
	b.payload = appendBlock(b.payload[:0], k)
	if _, err := b.frames.writeFrame(blockFrame, b.payload); err != nil {
		return err
	}
	b.count(k)
	b.noteNewest(k)
	if b.contents != nil {
		for i := range k.entries {
			b.contents.Note(&k.entries[i])
		}
	}
	if b.progress != nil {
		b.progress(len(k.entries))
	}
	return nil
}

func (b *writing) writeChunk(data []byte) error {
	if err := checkChunk(data); err != nil {
		return err
	}
	_, err := b.frames.writeFrame(chunkFrame, data)
	b.countChunk(data)
	return err
}

func checkChunk(data []byte) error {
	if len(data) == 0 || len(data) > partition.MaxChunkBytes {
		return fmt.Errorf("a chunk has %d bytes", len(data))
	}
	return nil
}

// countChunk adds a chunk to the totals.
func (f *Footer) countChunk(data []byte) {
	f.Chunks++
	f.ChunkBytes += int64(len(data))
}

// count adds a block to the totals.
func (f *Footer) count(k block) {
	f.Blocks++
	f.Entries += int64(len(k.entries))
	for i := range k.entries {
		f.Bytes += k.entries[i].Size
		if k.entries[i].Deleted {
			f.Tombstones++
		}
	}
}

// noteNewest keeps the newest entries of a block's origin, of which the block holds newer ones.
func (b *writing) noteNewest(k block) {
	newest := b.Newest[k.origin]
	for i := max(0, len(k.entries)-partition.LineageEntries); i < len(k.entries); i++ {
		e := &k.entries[i]
		newest = append(newest, Mark{[]byte(e.Key), e.Revision, e.ModifiedAt})
	}
	slices.SortFunc(newest, func(x, y Mark) int { return cmp.Compare(y.Revision, x.Revision) })
	b.Newest[k.origin] = newest[:min(len(newest), partition.LineageEntries)]
}

// Examine checks that a partition can be backed up: it belongs to a cluster and, unless incomplete is
// accepted, holds everything of each master as of some moment.
func Examine(ctx context.Context, p partition.Partition, incomplete bool) error {
	v, err := p.View(ctx)
	if err != nil {
		return err
	}
	defer v.Close()
	b := writing{Summary: Summary{Header: headerOf(v, p.Kind())}}
	return b.checkSource(ctx, p, Options{Incomplete: incomplete})
}
