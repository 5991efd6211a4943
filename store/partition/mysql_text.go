package partition

import "strconv"

// Statements of MySQL are built as text, which is what the server takes
// fastest. Bytes go in as _binary'…' with backslash escapes: sql_mode is set
// at the start of each session, and the connection's utf8mb4 has no character
// that contains a quote or a backslash.

// appendBytes appends b as a literal.
func appendBytes[T ~string | ~[]byte](text []byte, b T) []byte {
	text = append(text, "_binary'"...)
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

// escapes are the bytes that stand for themselves only after a backslash:
// those of mysql_real_escape_string.
var escapes = [256]byte{0: '0', '\n': 'n', '\r': 'r', 0x1a: 'Z', '\\': '\\', '\'': '\'', '"': '"'}

func appendInt[T ~int | ~int64](text []byte, n T) []byte {
	return strconv.AppendInt(text, int64(n), 10)
}

// appendKeys appends "(key,…)".
func appendKeys(text []byte, keys []Key) []byte {
	for i, k := range keys {
		text = append(text, "(,"[min(i, 1)])
		text = appendBytes(text, k)
	}
	return append(text, ')')
}

// appendRow appends "(column,…)" of e. In a batch that needs no decision
// revision and time are the session's variables.
func appendRow(text []byte, e *Entry, relative bool) []byte {
	text = append(text, '(')
	text = appendBytes(text, e.Key)
	text = append(text, ',')
	text = appendBytes(text, e.Origin)
	text = append(text, ',')
	if relative {
		text = append(text, firstVariable+"+"...)
	}
	text = appendInt(text, e.Revision)
	if e.Deleted {
		text = append(text, ",1,"...)
	} else {
		text = append(text, ",0,"...)
	}
	text = appendBytes(text, e.ContentType)
	text = append(text, ',')
	if len(e.Metadata) > 0 {
		text = appendBytes(text, e.Metadata)
	} else {
		text = append(text, "NULL"...)
	}
	text = append(text, ',')
	if relative {
		text = append(text, nowVariable...)
	} else {
		text = appendInt(text, e.ModifiedAt)
	}
	text = append(text, ',')
	if e.ExpiresAt != 0 {
		text = appendInt(text, e.ExpiresAt)
	} else {
		text = append(text, "NULL"...)
	}
	text = append(text, ',')
	text = appendInt(text, int64(e.Checksum))
	text = append(text, ',')
	text = appendInt(text, len(e.Value))
	text = append(text, ',')
	text = appendBytes(text, e.Value)
	return append(text, ')')
}
