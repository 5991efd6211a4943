package console

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// Streams are the standard streams of a command, the clock, and a test for terminals.
type Streams struct {
	In         io.Reader
	Out, Err   io.Writer
	Now        func() time.Time
	IsTerminal func(stream any) bool

	bars io.Writer // for progress bars, which control the terminal; nil before Protect
}

// Protect puts a Guard in front of standard error, and of standard output on a terminal. So no text from a server, a file
// or an argument controls the terminal of the user, or that of the reader of a log.
func (s *Streams) Protect() {
	s.bars = s.Err
	s.Err = NewGuard(s.Err)
	if s.IsTerminal(s.Out) {
		s.Out = NewGuard(s.Out)
	}
}

// Flush writes what the guards of Protect hold back: the bytes of an incomplete character.
func (s *Streams) Flush() error {
	var errs []error
	for _, w := range []io.Writer{s.Out, s.Err} {
		if g, ok := w.(*Guard); ok {
			errs = append(errs, g.Flush())
		}
	}
	return errors.Join(errs...)
}

// System returns the streams of this process.
func System() Streams {
	return Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Now: time.Now, IsTerminal: isTerminal}
}

func isTerminal(stream any) bool {
	for {
		wrapper, ok := stream.(interface{ Unwrap() io.Writer })
		if !ok {
			break
		}
		stream = wrapper.Unwrap()
	}
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Name returns a name for a line of standard output: unchanged for a program, and for a terminal in the form of Line.
func (s *Streams) Name(name string) string {
	if s.IsTerminal(s.Out) {
		return Line(name)
	}
	return name
}

// Input returns standard input as a reader that ctx interrupts; a plain Read of a terminal or a pipe cannot be
// interrupted. The goroutine that reads standard input may stay in the last Read until the process ends.
func (s *Streams) Input(ctx context.Context) io.ReadCloser {
	pr, pw := io.Pipe()
	stop := context.AfterFunc(ctx, func() { pr.CloseWithError(ctx.Err()); pw.CloseWithError(ctx.Err()) })
	go func() {
		defer stop()
		_, err := io.CopyBuffer(pw, s.In, make([]byte, 256<<10))
		pw.CloseWithError(err)
	}()
	return pr
}

// KeysShown is the number of keys that ConfirmKeys shows.
const KeysShown = 10

// ConfirmKeys shows the first of the keys and asks a question about them. Only "y" or "yes" means yes.
func (s *Streams) ConfirmKeys(keys []string, question string) bool {
	for _, key := range keys[:min(KeysShown, len(keys))] {
		fmt.Fprintf(s.Err, "  %s\n", Line(key))
	}
	if len(keys) > KeysShown {
		fmt.Fprintln(s.Err, "  …")
	}
	fmt.Fprintf(s.Err, "%s [y/N] ", question)
	reply, _ := bufio.NewReader(s.In).ReadString('\n')
	reply = strings.ToLower(strings.TrimSpace(reply))
	return reply == "y" || reply == "yes"
}
