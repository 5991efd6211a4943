package cursor

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"

	"github.com/runnelkv/runnel/store"
)

// Cursor is a position in a list, with the filters of the list.
type Cursor struct {
	Prefix    string
	Delimiter string
	After     string // the last name or group
}

// cursorVersion is the first byte of an encoded cursor. A new encoding gets a new number; old cursors stay valid.
const cursorVersion = 1

// String encodes the cursor as base64url: version, the three strings with their lengths, and a CRC-32.
func (c Cursor) String() string {
	b := []byte{cursorVersion}
	for _, s := range [...]string{c.Prefix, c.Delimiter, c.After} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return base64.RawURLEncoding.EncodeToString(b)
}

// maxCursorBytes exceeds the length of every encoded cursor.
const maxCursorBytes = 4 * store.MaxKeyBytes

// Parse decodes exactly the strings that String returns.
func Parse(s string) (Cursor, bool) {
	if len(s) > maxCursorBytes+maxCursorBytes/2 {
		return Cursor{}, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) < 5 || b[0] != cursorVersion {
		return Cursor{}, false
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return Cursor{}, false
	}
	var c Cursor
	rest := body[1:]
	for _, part := range [...]*string{&c.Prefix, &c.Delimiter, &c.After} {
		n, used := binary.Uvarint(rest)
		if used <= 0 || n > uint64(len(rest)-used) {
			return Cursor{}, false
		}
		*part, rest = string(rest[used:used+int(n)]), rest[used+int(n):]
	}
	return c, len(rest) == 0 && c.String() == s
}
