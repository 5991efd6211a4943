// Package transport carries HTTP for net/http at less cost for each request. [Serve] accepts connections up to a bound,
// keeps few of them idle, and wraps each one in a [Conn], which spares net/http most of its deadline system calls, the read that waits for a
// client to leave, and the header fields that net/http would only copy. With TLS, a Conn saves deadlines only.
//
// The package knows nothing of Runnel: the API finds the connection of a request by [Of].
package transport
