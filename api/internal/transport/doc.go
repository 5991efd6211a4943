// Package transport carries HTTP/1 for net/http at less cost for each request. [Serve] accepts connections up to a bound
// and wraps each one in a [Conn], which spares net/http most of its deadline system calls, the read that waits for a
// client to leave, and the header fields that net/http would only copy.
//
// The package knows nothing of Runnel: the API finds the connection of a request by [Of].
package transport
