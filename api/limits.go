package api

import (
	"cmp"
	"net/http"
	"time"
)

// Limits bounds what a client may take of a server. The zero value of a field
// means its default.
type Limits struct {
	Header      time.Duration // to send the header, default 10 s
	Body        time.Duration // to send a small request, or the next 64 KiB of a large one, default 60 s
	Write       time.Duration // to take a small answer, or the next 256 KiB of a large one, default 120 s
	Idle        time.Duration // between two requests of a connection, default 120 s
	HeaderBytes int           // of a request's header, default 64 KiB
	Heartbeat   time.Duration // between two signs of life in a stream of changes, default 15 s
}

func (l Limits) withDefaults() Limits {
	l.Header = cmp.Or(l.Header, 10*time.Second)
	l.Body = cmp.Or(l.Body, time.Minute)
	l.Write = cmp.Or(l.Write, 2*time.Minute)
	l.Idle = cmp.Or(l.Idle, 2*time.Minute)
	l.HeaderBytes = cmp.Or(l.HeaderBytes, 64<<10)
	l.Heartbeat = cmp.Or(l.Heartbeat, 15*time.Second)
	return l
}

// Apply sets the limits on a server that is not serving yet. Write counts from
// the end of the header there, so it includes reading the body.
func (l Limits) Apply(server *http.Server) {
	l = l.withDefaults()
	server.ReadHeaderTimeout = l.Header
	server.ReadTimeout = l.Body
	server.WriteTimeout = l.Body + l.Write
	server.IdleTimeout = l.Idle
	server.MaxHeaderBytes = l.HeaderBytes
}
