package transport

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/certs"
)

// secure is a server with TLS.
type secure struct {
	address string
	client  *tls.Config
	server  *http.Server
}

// serveTLS serves a handler until the test ends.
func serveTLS(t *testing.T, handler http.HandlerFunc, a Accepting, adjust func(*http.Server)) secure {
	t.Helper()
	ca := certs.NewAuthority(t)
	server := &http.Server{
		Handler:     handler,
		TLSConfig:   &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, certs.Names{}).Load(t)}},
		ErrorLog:    log.New(io.Discard, "", 0),
		IdleTimeout: time.Minute, ReadHeaderTimeout: time.Minute, ReadTimeout: time.Minute, WriteTimeout: time.Minute,
	}
	adjust(server)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- Serve(server, l, a) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-ended; err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	return secure{l.Addr().String(), &tls.Config{RootCAs: ca.Pool, ServerName: "localhost"}, server}
}

func unchanged(*http.Server) {}

// get sends a request on a new connection.
func (s secure) get(t *testing.T, http2 bool) *http.Response {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: s.client.Clone(), ForceAttemptHTTP2: http2}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get("https://" + s.address + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer
}

func TestTLSCarriesBothVersionsOfHTTP(t *testing.T) {
	s := serveTLS(t, func(_ http.ResponseWriter, r *http.Request) {
		if Of(r) != nil {
			t.Error("a handler could write past the encryption")
		}
	}, Accepting{}, unchanged)
	for http2, proto := range map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"} {
		if answer := s.get(t, http2); answer.Proto != proto || answer.StatusCode != 200 {
			t.Errorf("%s %d, want %s", answer.Proto, answer.StatusCode, proto)
		}
	}
}

// TestUnfinishedHandshakesMakeRoom: connections without a request end in favour of new ones, and those with a request
// are kept.
func TestUnfinishedHandshakesMakeRoom(t *testing.T) {
	const limit = 4
	for _, http2 := range []bool{false, true} {
		entered, leave := make(chan struct{}, 1), make(chan struct{})
		s := serveTLS(t, func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/long" {
				entered <- struct{}{}
				<-leave
			}
		}, Accepting{Max: limit}, unchanged)
		transport := &http.Transport{TLSClientConfig: s.client.Clone(), ForceAttemptHTTP2: http2}
		long := make(chan error, 1)
		go func() {
			answer, err := (&http.Client{Transport: transport}).Get("https://" + s.address + "/long")
			if err == nil {
				answer.Body.Close()
			}
			long <- err
		}()
		<-entered
		for i := range 3 * limit {
			c, err := net.Dial("tcp", s.address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.Write([]byte{22, 3, 1, 2, 0, 1}[:i%7]) // the beginning of a handshake
			if i%3 == 0 {
				s.get(t, http2)
			}
		}
		close(leave)
		if err := <-long; err != nil {
			t.Errorf("HTTP/2 %v: the connection with a request was not kept: %v", http2, err)
		}
		transport.CloseIdleConnections()
	}
}

func TestSlowHandshakeEnds(t *testing.T) {
	s := serveTLS(t, func(http.ResponseWriter, *http.Request) {}, Accepting{}, func(server *http.Server) { server.ReadHeaderTimeout = 50 * time.Millisecond })
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte{22, 3, 1, 2, 0, 1, 0})
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Errorf("the connection is kept: %v", err)
	}
}

// Types of frames, and the identifiers of settings (RFC 9113, sections 6 and 6.5.2).
const (
	frameHeaders, frameReset, frameSettings, frameGoAway = 1, 3, 4, 7

	settingStreams, settingWindow = 3, 4
)

// frame encodes a frame.
func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	head := binary.BigEndian.AppendUint32([]byte{0, byte(len(payload) >> 8), byte(len(payload)), kind, flags}, stream)
	return append(head, payload...)
}

// setting encodes a setting.
func setting(id uint16, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(nil, id), value)
}

// open is the frame of a GET on a new stream.
func open(stream uint32) []byte {
	const endStream, endHeaders = 1, 4
	fields := append([]byte{0x82, 0x87, 0x84, 0x41, 9}, "localhost"...) // RFC 7541, appendix A
	return frame(frameHeaders, endStream|endHeaders, stream, fields)
}

// dialFrames opens a connection of HTTP/2 with a window, and sends frames.
func (s secure) dialFrames(t *testing.T, window uint32) *tls.Conn {
	t.Helper()
	config := s.client.Clone()
	config.NextProtos = []string{"h2"}
	c, err := tls.Dial("tcp", s.address, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	hello := append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(frameSettings, 0, 0, setting(settingWindow, window))...)
	hello = append(hello, frame(8, 0, 0, binary.BigEndian.AppendUint32(nil, window-1<<16))...) // of the connection
	if _, err := c.Write(hello); err != nil {
		t.Fatal(err)
	}
	return c
}

// readFrame returns the next frame.
func readFrame(r io.Reader) (kind byte, stream uint32, payload []byte, err error) {
	var head [9]byte
	if _, err = io.ReadFull(r, head[:]); err != nil {
		return 0, 0, nil, err
	}
	payload = make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
	_, err = io.ReadFull(r, payload)
	return head[3], binary.BigEndian.Uint32(head[5:]), payload, err
}

// running counts handlers that wait until their request ends.
type running struct{ now, most atomic.Int64 }

func (c *running) serve(_ http.ResponseWriter, r *http.Request) {
	n := c.now.Add(1)
	defer c.now.Add(-1)
	for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
	}
	<-r.Context().Done()
}

// TestStreamsOfAConnectionAreBounded: the server states its bound, and refuses the streams beyond it.
func TestStreamsOfAConnectionAreBounded(t *testing.T) {
	var handlers running
	s := serveTLS(t, handlers.serve, Accepting{}, unchanged)
	c := s.dialFrames(t, 1<<20)
	var sent bytes.Buffer
	for i := range uint32(maxStreams + 1) {
		sent.Write(open(2*i + 1))
	}
	if _, err := c.Write(sent.Bytes()); err != nil {
		t.Fatal(err)
	}
	stated := false
	for {
		kind, stream, payload, err := readFrame(c)
		if err != nil {
			t.Fatal(err)
		}
		stated = stated || kind == frameSettings && bytes.Contains(payload, setting(settingStreams, maxStreams))
		if kind == frameReset {
			if stream != 2*maxStreams+1 || !stated {
				t.Errorf("stream %d is refused, bound stated: %v", stream, stated)
			}
			break
		}
	}
	if most := handlers.most.Load(); most > maxStreams {
		t.Errorf("%d requests at a time", most)
	}
}

// TestFloodOfResetsIsBounded: a client that opens and resets streams for ever occupies no more handlers than others,
// and harms nobody else.
func TestFloodOfResetsIsBounded(t *testing.T) {
	var handlers running
	s := serveTLS(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" && r.Proto == "HTTP/2.0" {
			handlers.serve(w, r)
		}
	}, Accepting{}, unchanged)
	c := s.dialFrames(t, 1<<20)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for kind := byte(0); kind != frameGoAway; {
			var err error
			if kind, _, _, err = readFrame(c); err != nil {
				return
			}
		}
	}()
	for i := range uint32(20_000) {
		if _, err := c.Write(append(open(2*i+1), frame(frameReset, 0, 2*i+1, []byte{0, 0, 0, 8})...)); err != nil {
			break // the server has hung up
		}
		if i%1000 == 0 {
			s.get(t, false)
		}
	}
	c.Close()
	<-ended
	if most := handlers.most.Load(); most == 0 || most > maxStreams {
		t.Errorf("%d handlers at a time", most)
	}
}

// TestClientThatReadsNothingEnds: with a large window, only the connection itself bounds what a handler writes.
func TestClientThatReadsNothingEnds(t *testing.T) {
	ended := make(chan struct{})
	s := serveTLS(t, func(w http.ResponseWriter, _ *http.Request) {
		http.NewResponseController(w).SetWriteDeadline(time.Time{}) // as a stream does that is alive
		defer close(ended)
		for err := error(nil); err == nil; {
			_, err = w.Write(make([]byte, 1<<20))
		}
	}, Accepting{}, func(server *http.Server) { server.WriteTimeout = 200 * time.Millisecond })
	c := s.dialFrames(t, 1<<30)
	if _, err := c.Write(open(1)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the handler writes for ever")
	}
}
