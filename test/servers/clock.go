package servers

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Clocked is a database with a clock that the test sets. A relay between the database and its clients adds the seconds of a
// table to the clock that statements read. The relay can be cut, so that the database is lost to its clients.
type Clocked struct {
	URL string // of the relay, as Runnel's configuration writes it

	setStep  func(seconds int64) error
	listener net.Listener
	server   string // the address
	clock    string // the expression that stands for UTC_TIMESTAMP(6)

	mu    sync.Mutex // guards the fields below
	isCut bool
	ends  map[net.Conn]bool
	group sync.WaitGroup
}

// Clocked creates a database whose clock the test sets. The database ends with the test.
func (s *Server) Clocked(t testing.TB) *Clocked {
	t.Helper()
	u, clock := mustParse(s.Database(t)), s.Database(t)
	db := Open(t, clock)
	for _, statement := range []string{"CREATE TABLE clock (seconds INT NOT NULL)", "INSERT INTO clock VALUES (0)"} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.Host = l.Addr().String()
	c := &Clocked{URL: u.String(), listener: l, server: s.Address(), ends: make(map[net.Conn]bool),
		clock: fmt.Sprintf("(UTC_TIMESTAMP(6) + INTERVAL (SELECT seconds FROM %s.clock) SECOND)", nameOf(clock))}
	c.setStep = func(seconds int64) error {
		_, err := db.Exec("UPDATE clock SET seconds = ?", seconds)
		return err
	}
	c.group.Go(c.accept)
	t.Cleanup(func() { c.Cut(); c.group.Wait() })
	return c
}

// SetClock sets the clock to the server's clock plus step, in whole seconds.
func (c *Clocked) SetClock(t testing.TB, step time.Duration) {
	t.Helper()
	if err := c.setStep(int64(step / time.Second)); err != nil {
		t.Fatal(err)
	}
}

// Cut ends all connections to the database, and refuses others from then on.
func (c *Clocked) Cut() {
	c.listener.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isCut = true
	for end := range c.ends {
		end.Close()
	}
}

func (c *Clocked) accept() {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.group.Go(func() { c.relay(client) })
	}
}

// hold registers connections for Cut to close. After Cut it reports false.
func (c *Clocked) hold(ends ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, end := range ends {
		c.ends[end] = true
	}
	return !c.isCut
}

// relay passes a connection on, with the clock that statements read replaced.
func (c *Clocked) relay(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", c.server)
	if err != nil {
		return
	}
	defer server.Close()
	if !c.hold(client, server) {
		return
	}
	c.group.Go(func() {
		defer client.Close()
		_, _ = io.Copy(client, server)
	})
	c.passStatements(client, server)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.ends, client)
	delete(c.ends, server)
}

// passStatements passes packets on to the server until a connection ends.
func (c *Clocked) passStatements(client, server net.Conn) {
	const query, prepare = 3, 22 // commands that hold a statement
	var header [4]byte           // three bytes of length, and a number
	for {
		if _, err := io.ReadFull(client, header[:]); err != nil {
			return
		}
		packet := make([]byte, int(header[0])|int(header[1])<<8|int(header[2])<<16)
		if _, err := io.ReadFull(client, packet); err != nil {
			return
		}
		if header[3] == 0 && len(packet) > 0 && (packet[0] == query || packet[0] == prepare) {
			packet = bytes.ReplaceAll(packet, []byte("UTC_TIMESTAMP(6)"), []byte(c.clock))
			header = [4]byte{byte(len(packet)), byte(len(packet) >> 8), byte(len(packet) >> 16), 0}
		}
		if _, err := server.Write(append(header[:], packet...)); err != nil {
			return
		}
	}
}
