// Package client is the Go client of Runnel's HTTP API. The command line itself uses it.
//
// A [Client] speaks to one server and is safe for concurrent use:
//
//	c, err := client.New("http://127.0.0.1:8080", client.Options{})
//	written, err := c.Put(ctx, "greeting", []byte("hello"), client.PutOptions{ContentType: "text/plain"})
//	entry, err := c.Get(ctx, "greeting", client.ReadOptions{Consistency: client.Master})
//
// Keys are sent byte-exact: slashes, dots and percent signs arrive as they are.
//
// # Consistency and sessions
//
// By default any replica may answer a read, so the answer can be older than the last write. [ReadOptions] choose a
// stronger level for one read. A [Session] makes every request of a client see everything that the client has read and
// written before, whichever replica answers.
//
// # Conditions
//
// Every write may carry [Conditions] on the entity tag (ETag) of the key. The master decides them at the moment of
// writing; a condition that does not hold is [ErrPreconditionFailed], and nothing is stored. [Client.Txn] does
// several operations on one master, all or none.
//
// # Retries
//
// A request is repeated with growing pauses for up to [Options.RetryFor]. A request that the server cannot have
// processed is always repeated: no connection was made, or the server answered 503 or 429 with Retry-After. A request
// with an unknown outcome is repeated only if it is idempotent: reads, and writes without conditions. A conditional
// write or a transaction with an unknown outcome returns an error that is [ErrOutcomeUnknown]; read the key from its
// master to learn whether the write was stored.
//
// # Errors
//
// A refusal by the server is an [*Error] with the members of its problem document (RFC 9457). Use errors.Is with the
// Err variables of this package, and errors.As for details such as Error.Request, the id under which the server's log has
// the cause.
//
// # Lists and changes
//
// [Client.List] streams any number of keys in constant memory, and [Client.Watch] streams changes without end. Both
// continue after a lost connection where they stopped.
package client
