// Package access holds the API keys: the form of a key, the grants of a key, and the registry by
// which a server authenticates requests.
//
// # Keys
//
// A client sends a [Token], rnl_<id>_<secret>. A [Key] is the stored record: the hash of the
// secret, a name, grants and an expiry. The secret has 256 random bits, so a single SHA-256 is
// enough; the secret itself is stored nowhere. Keys come from two places: the configuration of a
// process, which works with every database away, and the entries sys/key/<id> of the store, which
// are replicated. [Create], [Rotate] and [Revoke] change these entries.
//
// # Registry
//
// A [Registry] holds all keys in memory, so no request asks a database. Each second the registry
// reads the stored keys again, with a proof that the answer is at most two seconds old: a
// revocation takes effect within five seconds. While no such answer can be had the registry keeps
// the last keys, for at most Options.MaxStale after the time for which the answer was proven.
// Then, and before the first reading, only keys of the configuration are valid. A reading never
// goes back in time: the session of the previous readings is part of the next reading.
//
// The change feed is not used. A reader of the feed cannot tell silence from a replica that was
// cut off from the masters, and a standing reader would make every process read every write.
//
// # Grants
//
// [Grants] decide by the bytes of a decoded key name. The longest matching prefix decides, and a
// name without a matching prefix is denied. Grants are compiled once from a [Spec], and a decision
// allocates nothing.
package access
