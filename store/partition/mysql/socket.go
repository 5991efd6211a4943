package mysql

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// socket is the network connection of a rawConn. After the first part of an answer each further
// part must arrive within answerTimeout: a KILL QUERY between two statements of a packet drops the
// remaining statements without a message, and the transaction stays open.
type socket struct {
	net.Conn
	answerTimeout time.Duration // zero: no limit

	answering bool // bytes have arrived since the last write
	bounded   bool // a deadline is set
	aborted   atomic.Bool
}

// SyscallConn implements syscall.Conn. The driver uses it to check that an idle connection is still
// open.
func (s *socket) SyscallConn() (syscall.RawConn, error) {
	if conn, ok := s.Conn.(syscall.Conn); ok {
		return conn.SyscallConn()
	}
	return nil, syscall.EINVAL
}

// Read implements net.Conn.
func (s *socket) Read(b []byte) (int, error) {
	if s.answering && s.answerTimeout > 0 {
		s.bounded = true
		s.setReadDeadline(time.Now().Add(s.answerTimeout))
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
		s.setReadDeadline(time.Time{})
	}
	return s.Conn.Write(b)
}

func (s *socket) setReadDeadline(deadline time.Time) {
	_ = s.SetReadDeadline(deadline)
	if s.aborted.Load() {
		_ = s.SetDeadline(longAgo) // and not the deadline above
	}
}

// longAgo is a deadline that ends all waiting at once.
var longAgo = time.Unix(1, 0)

// abort makes all reads and writes fail.
func (s *socket) abort() {
	s.aborted.Store(true)
	_ = s.SetDeadline(longAgo)
}
