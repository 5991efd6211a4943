package runnel

import (
	"bytes"
	"sync"
)

// Output collects the output of a process. All methods are safe for concurrent use.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *Output) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *Output) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Tail returns the last 8 KiB.
func (b *Output) Tail() string {
	s := b.String()
	return s[max(0, len(s)-8<<10):]
}
