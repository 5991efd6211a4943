// Package keys serves single keys, lists of keys, the deletion of all keys with a prefix, and the classic paths.
//
// single.go holds the routes of a key, which decode a request to a write.Request or to store.ReadOptions, call the store,
// and answer with the value (value.go) or with the entry as a document. GET and PUT of plain values are the hot path: no
// JSON, no parsing of an Accept header without a preference, no canonicalising of header names, and few allocations.
package keys
