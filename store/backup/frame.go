package backup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/xxh3"
)

// magic begins every file. The last byte is the version of the format.
const magic = "RUNNELB1"

// frameKind is the first byte of a frame.
type frameKind byte

const (
	headerFrame frameKind = 'H' // JSON of Header; the first frame
	blockFrame  frameKind = 'B' // entries of an origin, see appendBlock
	chunkFrame  frameKind = 'C' // the data of a chunk of a file; after all blocks
	footerFrame frameKind = 'F' // JSON of Footer; the last frame
)

// A frame is a head of headBytes and a payload, compressed by zstd:
//
//	1  kind
//	8  number of the frame, from 0
//	4  length of the payload
//	4  length of the payload before compression
//	8  xxh3-64 of the payload
//	8  xxh3-64 of the bytes above
//
// Little-endian. The number shows a lost, repeated or moved frame. The head has a checksum of its
// own, so that a damaged length is noticed before that much is read.
const headBytes = 33

// maxFrameBytes bounds the payload of a frame, before and after compression. A frame holds at least
// an entry, and the largest value of a MySQL server is 1 GiB.
const maxFrameBytes = 1<<30 + 1<<20

// maxDocumentBytes bounds a header and a footer in the same way.
const maxDocumentBytes = 16 << 20

// The file ends in the length of the footer's frame (4 bytes) and this word, so that the footer can
// be found without reading the whole file.
const (
	endMark      = "RUNNELBE"
	trailerBytes = 4 + len(endMark)
)

// DamageError says where a backup is damaged or cut off.
type DamageError struct {
	Offset int64 // of the first byte that cannot be used
	Frame  int64 // number of the frame there; 0 is the header
	Reason string

	foreign bool // the file is no backup, or of another format: no place is damaged
}

func (e *DamageError) Error() string {
	if e.foreign {
		return e.Reason
	}
	return fmt.Sprintf("the backup is damaged at byte %d (frame %d): %s", e.Offset, e.Frame, e.Reason)
}

// frameWriter writes frames. The digest is the hash of all heads so far.
type frameWriter struct {
	w      io.Writer
	zstd   *zstd.Encoder
	number uint64
	digest *xxh3.Hasher
	buf    []byte // of the frame; the memory is reused
}

func newFrameWriter(w io.Writer) (*frameWriter, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(w, magic); err != nil {
		return nil, err
	}
	return &frameWriter{w: w, zstd: encoder, digest: xxh3.New()}, nil
}

// writeFrame writes a frame and returns its length.
func (f *frameWriter) writeFrame(kind frameKind, payload []byte) (int, error) {
	if len(payload) > maxFrameBytes {
		return 0, fmt.Errorf("a frame of %d bytes: the limit is %d", len(payload), maxFrameBytes)
	}
	f.buf = f.zstd.EncodeAll(payload, append(f.buf[:0], make([]byte, headBytes)...))
	head, stored := f.buf[:headBytes], f.buf[headBytes:]
	head[0] = byte(kind)
	binary.LittleEndian.PutUint64(head[1:], f.number)
	binary.LittleEndian.PutUint32(head[9:], uint32(len(stored)))
	binary.LittleEndian.PutUint32(head[13:], uint32(len(payload)))
	binary.LittleEndian.PutUint64(head[17:], xxh3.Hash(stored))
	binary.LittleEndian.PutUint64(head[25:], xxh3.Hash(head[:25]))
	f.digest.Write(head)
	f.number++
	return f.w.Write(f.buf)
}

// writeTrailer writes the trailer after a footer with a frame of n bytes.
func (f *frameWriter) writeTrailer(n int) error {
	_, err := f.w.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(n)), endMark...))
	return err
}

// anyNumber lets the next frame have any number.
const anyNumber = math.MaxUint64

// frameReader reads frames and checks them. After an error it must not be used again.
type frameReader struct {
	r       io.Reader
	zstd    *zstd.Decoder
	offset  int64 // of the next byte
	number  uint64
	digest  *xxh3.Hasher // of the heads so far
	stored  bytes.Buffer
	payload []byte // the memory is reused
}

func newFrameReader(r io.Reader) (*frameReader, error) {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxFrameBytes),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, err
	}
	f := &frameReader{r: r, zstd: decoder, digest: xxh3.New()}
	begin := make([]byte, len(magic))
	if err := f.readFull(begin); err != nil {
		return nil, err
	}
	switch {
	case string(begin[:len(magic)-1]) != magic[:len(magic)-1]:
		return nil, &DamageError{Reason: "this is no backup of Runnel", foreign: true}
	case string(begin) != magic:
		return nil, &DamageError{foreign: true, Reason: fmt.Sprintf("the backup has format %q, and this program reads %q", begin[len(magic)-1:], magic[len(magic)-1:])}
	}
	return f, nil
}

func (f *frameReader) damage(offset int64, reason string) error {
	return &DamageError{Offset: offset, Frame: int64(f.number), Reason: reason}
}

const cutOff = "the file ends here: it was cut off"

// readFull reads all of b. The end of the file is damage.
func (f *frameReader) readFull(b []byte) error {
	read, err := io.ReadFull(f.r, b)
	f.offset += int64(read)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return f.damage(f.offset, cutOff)
	}
	return err
}

// frameHead is the decoded head of a frame.
type frameHead struct {
	kind        frameKind
	stored, raw int    // lengths of the payload
	sum         uint64 // of the stored payload
}

// readFrame reads a frame of one of the kinds, which are bytes of the text. The payload is valid until
// the following call.
func (f *frameReader) readFrame(kinds string) (frameKind, []byte, error) {
	begin := f.offset
	h, err := f.readHead(kinds)
	if err != nil {
		return 0, nil, err
	}
	f.stored.Reset()
	n, err := io.CopyN(&f.stored, f.r, int64(h.stored))
	f.offset += n
	switch {
	case errors.Is(err, io.EOF):
		return 0, nil, f.damage(f.offset, cutOff)
	case err != nil:
		return 0, nil, err
	case h.sum != xxh3.Hash(f.stored.Bytes()):
		return 0, nil, f.damage(begin, "the checksum of a frame differs")
	}
	if cap(f.payload) < h.raw {
		f.payload = make([]byte, 0, h.raw)
	}
	f.payload, err = f.zstd.DecodeAll(f.stored.Bytes(), f.payload[:0:h.raw])
	if err != nil || len(f.payload) != h.raw {
		return 0, nil, f.damage(begin, fmt.Sprintf("a frame cannot be decompressed: %v", err))
	}
	f.number++
	return h.kind, f.payload, nil
}

// readHead reads and checks the head of a frame.
func (f *frameReader) readHead(kinds string) (frameHead, error) {
	begin := f.offset
	var b [headBytes]byte
	if err := f.readFull(b[:]); err != nil {
		return frameHead{}, err
	}
	number := binary.LittleEndian.Uint64(b[1:])
	h := frameHead{kind: frameKind(b[0]), stored: int(binary.LittleEndian.Uint32(b[9:])), raw: int(binary.LittleEndian.Uint32(b[13:])),
		sum: binary.LittleEndian.Uint64(b[17:])}
	switch {
	case binary.LittleEndian.Uint64(b[25:]) != xxh3.Hash(b[:25]):
		return h, f.damage(begin, "the checksum of the head of a frame differs")
	case number != f.number && f.number != anyNumber:
		return h, f.damage(begin, fmt.Sprintf("frame %d stands in place of frame %d", number, f.number))
	case strings.IndexByte(kinds, b[0]) < 0:
		return h, f.damage(begin, fmt.Sprintf("a frame of kind %q stands here", b[0]))
	case max(h.stored, h.raw) > maxFrameBytes, h.kind != blockFrame && max(h.stored, h.raw) > maxDocumentBytes:
		return h, f.damage(begin, fmt.Sprintf("a frame of %d bytes stands here", max(h.stored, h.raw)))
	}
	f.number = number
	if h.kind != footerFrame { // the footer holds the digest of the heads before its own
		f.digest.Write(b[:])
	}
	return h, nil
}

// readTrailer checks the trailer after a footer with a frame that began at an offset, and the end of the file.
func (f *frameReader) readTrailer(begin int64) error {
	length, at := f.offset-begin, f.offset
	var trailer [trailerBytes]byte
	if err := f.readFull(trailer[:]); err != nil {
		return err
	}
	if string(trailer[4:]) != endMark || int64(binary.LittleEndian.Uint32(trailer[:])) != length {
		return f.damage(at, "the end of the file differs")
	}
	if n, err := io.ReadFull(f.r, trailer[:1]); n > 0 {
		return f.damage(f.offset, "the file goes on after its end")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// close frees the memory of the decoder.
func (f *frameReader) close() { f.zstd.Close() }

// seekFooter continues at the frame of the footer.
func (f *frameReader) seekFooter(r io.ReadSeeker) error {
	end, err := r.Seek(-int64(trailerBytes), io.SeekEnd)
	if err != nil {
		return err
	}
	f.offset = end
	var trailer [trailerBytes]byte
	if err := f.readFull(trailer[:]); err != nil {
		return err
	}
	length := int64(binary.LittleEndian.Uint32(trailer[:]))
	if string(trailer[4:]) != endMark || length > end {
		return f.damage(end, cutOff)
	}
	if f.offset, err = r.Seek(end-length, io.SeekStart); err != nil {
		return err
	}
	f.number = anyNumber
	return nil
}
