package mysql

import (
	"strconv"

	"github.com/runnelkv/runnel/store/partition"
)

// Statements are built as text, which servers process fastest. Bytes are written as '…' with
// backslash escapes. Each session sets sql_mode, so that backslashes escape, and the character set
// binary, in which every byte is a character and no conversion or check takes place.

// appendBytes appends b as a literal.
func appendBytes[T ~string | ~[]byte](text []byte, b T) []byte {
	text = append(text, '\'')
	start := 0
	for i := range len(b) {
		escaped := escapes[b[i]]
		if escaped == 0 {
			continue
		}
		text = append(text, b[start:i]...)
		text = append(text, '\\', escaped)
		start = i + 1
	}
	text = append(text, b[start:]...)
	return append(text, '\'')
}

// escapes are the bytes that need a backslash, as in mysql_real_escape_string.
var escapes = [256]byte{0: '0', '\n': 'n', '\r': 'r', 0x1a: 'Z', '\\': '\\', '\'': '\'', '"': '"'}

func appendInt[T ~int | ~int64](text []byte, n T) []byte {
	return strconv.AppendInt(text, int64(n), 10)
}

// appendKeys appends "(key,…)".
func appendKeys(text []byte, keys []partition.Key) []byte {
	for i, k := range keys {
		text = append(text, "(,"[min(i, 1)])
		text = appendBytes(text, k)
	}
	return append(text, ')')
}
