// Package audit writes the audit log: one line of JSON for each act, with the key that asked for it.
//
// A [Log] writes each line with a single write, before the answer to the request is sent, and remembers whether the last
// line could be written. Names of entries are quoted in ASCII, so that no name can end a line or hide in a terminal.
// Secrets have no field in a [Record].
package audit
