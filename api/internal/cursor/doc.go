// Package cursor encodes positions in lists for clients: the cursors that a page gives as "next".
package cursor
