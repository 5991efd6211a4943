package mysql

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// socket is what a link speaks through. Once the server has begun to answer a packet of
// statements, each further part of the answer must come within patience: a KILL QUERY between
// two statements ends the others without a word, and their transaction stays open.
type socket struct {
	net.Conn
	patience time.Duration // zero: no bound

	answering bool // bytes were read since the last write
	bounded   bool // a deadline is set
	isCut     atomic.Bool
}

// SyscallConn implements syscall.Conn, with which the driver looks whether an idle
// connection is still open.
func (s *socket) SyscallConn() (syscall.RawConn, error) {
	if conn, ok := s.Conn.(syscall.Conn); ok {
		return conn.SyscallConn()
	}
	return nil, syscall.EINVAL
}

// Read implements net.Conn.
func (s *socket) Read(b []byte) (int, error) {
	if s.answering && s.patience > 0 {
		s.bounded = true
		s.bound(time.Now().Add(s.patience))
	}
	n, err := s.Conn.Read(b)
	s.answering = true
	return n, err
}

// Write implements net.Conn.
func (s *socket) Write(b []byte) (int, error) {
	s.answering = false
	if s.bounded {
		s.bounded = false
		s.bound(time.Time{})
	}
	return s.Conn.Write(b)
}

func (s *socket) bound(deadline time.Time) {
	_ = s.SetReadDeadline(deadline)
	if s.isCut.Load() {
		_ = s.SetDeadline(longAgo) // and not what was set over it
	}
}

// longAgo is a deadline that makes whoever waits for a socket give up.
var longAgo = time.Unix(1, 0)

// cut makes all reads and writes fail from now on.
func (s *socket) cut() {
	s.isCut.Store(true)
	_ = s.SetDeadline(longAgo)
}
