// Package pointread batches point reads of a database.
//
// Reads that queue while all workers are busy share the next statement; a lone read is sent
// at once. A read that the database does not answer in time fails, while the statement
// continues. Large values are read in statements of their own, beside those of small values,
// so that small reads never wait for large ones.
//
// [Batcher.Lookup] is called by any goroutine. [Batcher.Run] is a worker; the caller starts
// as many workers as passed to [New], and waits for them.
package pointread
