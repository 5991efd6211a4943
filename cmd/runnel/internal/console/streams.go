package console

import (
	"bufio"
	"context"
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
}

// System returns the streams of this process.
func System() Streams {
	return Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Now: time.Now, IsTerminal: isTerminal}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Display returns a writer to standard output for text that comes from a server. On a terminal, characters that could
// control the terminal or reorder text are written as codes.
func (s *Streams) Display() io.Writer {
	if s.IsTerminal(s.Out) {
		return VisibleWriter{s.Out}
	}
	return s.Out
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
		fmt.Fprintf(s.Err, "  %s\n", Visible(key))
	}
	if len(keys) > KeysShown {
		fmt.Fprintln(s.Err, "  …")
	}
	fmt.Fprintf(s.Err, "%s [y/N] ", question)
	reply, _ := bufio.NewReader(s.In).ReadString('\n')
	reply = strings.ToLower(strings.TrimSpace(reply))
	return reply == "y" || reply == "yes"
}
