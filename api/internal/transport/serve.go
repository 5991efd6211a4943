package transport

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
)

// Serve serves HTTP until the listener is closed, and HTTPS if the server has a TLSConfig. The handler of the server must
// call Conn.StartRequest; see StartRequests.
func Serve(server *http.Server, l net.Listener, a Accepting) error {
	Prepare(server)
	if server.TLSConfig == nil {
		return server.Serve(NewListener(l, a))
	}
	return server.ServeTLS(NewListener(l, a), "", "")
}

// maxStreams bounds the requests that a connection of HTTP/2 makes at a time. RFC 9113 recommends no fewer.
const maxStreams = 100

// Prepare installs the hooks by which handlers find their Conn, and the bounds of HTTP/2. Serve calls Prepare; only
// tests that start a server by themselves need it. With TLS no handler finds a Conn, because what net/http writes is
// encrypted before a Conn receives it.
func Prepare(server *http.Server) *http.Server {
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		switch c := c.(type) {
		case *Conn:
			return With(ctx, c)
		case *tls.Conn:
			if below, ok := c.NetConn().(*Conn); ok {
				below.secure = true
			}
			return context.WithValue(ctx, secureKey{}, c.NetConn())
		}
		return ctx
	}
	server.ConnState = func(c net.Conn, state http.ConnState) {
		switch c := c.(type) {
		case *Conn:
			if state == http.StateIdle {
				c.startWaiting()
			}
		case *tls.Conn:
			if c, ok := c.NetConn().(*Conn); ok {
				c.noteState(state)
			}
		}
	}
	server.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams: maxStreams,
		SendPingTimeout:      server.IdleTimeout,  // a silent client is asked whether it is still there
		WriteByteTimeout:     server.WriteTimeout, // for a client that reads nothing on any stream
	}
	return server
}

// noteState follows a connection with TLS, where no handler calls StartRequest.
func (c *Conn) noteState(state http.ConnState) {
	switch state {
	case http.StateActive:
		c.StartRequest()
	case http.StateIdle:
		c.startWaiting()
	}
}
