package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/runnelkv/runnel/store/partition"
)

// Reader reads a backup. Everything that it returns has been checked.
type Reader struct {
	Header
	frames *frameReader
	totals Footer // so far
	place  int    // index in Origins of the last block
	last   partition.Revision
}

// piece is a part of a backup: a block, or the data of a chunk, which is valid until the following piece.
type piece struct {
	block
	chunk []byte // nil: a block
}

// NewReader reads the header of a backup. A backup that is damaged, cut off, or of another format is a
// *DamageError, here and in the other functions that read backups.
func NewReader(r io.Reader) (*Reader, error) {
	frames, err := newFrameReader(r)
	if err != nil {
		return nil, err
	}
	b := &Reader{frames: frames}
	begin := frames.offset
	_, payload, err := frames.readFrame(string(headerFrame))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(payload, &b.Header); err != nil {
		return nil, frames.damage(begin, "its header cannot be decoded")
	}
	if err := b.verifyFields(); err != nil {
		return nil, frames.damage(begin, err.Error())
	}
	if len(b.Origins) > 0 {
		b.last = b.Origins[0].Since
	}
	return b, nil
}

// next returns the next piece, or io.EOF after the end was checked.
func (b *Reader) next() (piece, error) {
	begin := b.frames.offset
	kind, payload, err := b.frames.readFrame(b.expected())
	switch {
	case err != nil:
		return piece{}, err
	case kind == footerFrame:
		return piece{}, b.finish(begin, payload)
	case kind == chunkFrame:
		if err := checkChunk(payload); err != nil {
			return piece{}, b.frames.damage(begin, err.Error())
		}
		b.totals.countChunk(payload)
		return piece{chunk: payload}, nil
	}
	k, err := parseBlock(payload)
	if err == nil {
		err = b.checkOrder(k)
	}
	if err != nil {
		return piece{}, b.frames.damage(begin, err.Error())
	}
	b.totals.count(k)
	return piece{block: k}, nil
}

// expected returns the kinds of frames that may follow.
func (b *Reader) expected() string {
	kinds := string(footerFrame)
	if b.Contents {
		kinds += string(chunkFrame)
	}
	if b.totals.Chunks == 0 {
		kinds += string(blockFrame)
	}
	return kinds
}

// checkOrder checks that a block follows the blocks before: origins in the order of the header, revisions
// between the base and the position, in ascending order.
func (b *Reader) checkOrder(k block) error {
	for b.place < len(b.Origins) && b.Origins[b.place].Name != k.origin {
		if b.place++; b.place < len(b.Origins) {
			b.last = b.Origins[b.place].Since
		}
	}
	if b.place == len(b.Origins) {
		return fmt.Errorf("entries of %q stand where there are none", k.origin)
	}
	for i := range k.entries {
		e := &k.entries[i]
		if e.Revision <= b.last || e.Revision > b.Origins[b.place].Revision {
			return fmt.Errorf("revision %d of %s is out of order", e.Revision, k.origin)
		}
		if !e.Intact() {
			return fmt.Errorf("the value of %q does not match its checksum", e.Key)
		}
		b.last = e.Revision
	}
	return nil
}

// finish checks the footer, which began at an offset, against the blocks, and returns io.EOF.
func (b *Reader) finish(begin int64, payload []byte) error {
	var f Footer
	if err := json.Unmarshal(payload, &f); err != nil {
		return b.frames.damage(begin, "its footer cannot be decoded")
	}
	if t := b.totals; f.Blocks != t.Blocks || f.Entries != t.Entries || f.Tombstones != t.Tombstones || f.Bytes != t.Bytes ||
		f.Chunks != t.Chunks || f.ChunkBytes != t.ChunkBytes ||
		f.Digest != digestText(b.frames.digest.Sum64()) {
		return b.frames.damage(begin, "its footer differs from its blocks")
	}
	b.totals = f
	if err := b.frames.readTrailer(begin); err != nil {
		return err
	}
	return io.EOF
}

// Close frees memory. It does not close the file.
func (b *Reader) Close() { b.frames.close() }

// Check reads a backup to its end. progress is called after each block with the number of its
// entries, and may be nil.
func Check(r io.Reader, progress func(added int)) (Summary, error) {
	b, err := NewReader(r)
	if err != nil {
		return Summary{}, err
	}
	defer b.Close()
	for {
		k, err := b.next()
		if errors.Is(err, io.EOF) {
			return Summary{b.Header, b.totals}, nil
		}
		if err != nil {
			return Summary{}, err
		}
		if progress != nil {
			progress(len(k.entries))
		}
	}
}

// Peek reads the header and the footer of a backup, and nothing between them.
func Peek(r io.ReadSeeker) (Summary, error) {
	b, err := NewReader(r)
	if err != nil {
		return Summary{}, err
	}
	defer b.Close()
	if err := b.frames.seekFooter(r); err != nil {
		return Summary{}, err
	}
	begin := b.frames.offset
	_, payload, err := b.frames.readFrame(string(footerFrame))
	if err != nil {
		return Summary{}, err
	}
	var f Footer
	if err := json.Unmarshal(payload, &f); err != nil {
		return Summary{}, b.frames.damage(begin, "its footer cannot be decoded")
	}
	return Summary{b.Header, f}, b.frames.readTrailer(begin)
}
