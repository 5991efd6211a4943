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

// Streams are the standard streams of a command, its clock, and what it knows of the terminal.
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

// Display returns a writer to standard output for text that comes from a server. On a terminal every character that
// could control the terminal, or reorder its text, is written as its code.
func (s *Streams) Display() io.Writer {
	if s.IsTerminal(s.Out) {
		return VisibleWriter{s.Out}
	}
	return s.Out
}

// Input returns standard input as a reader whose Read ends with ctx, which a Read of a terminal or a pipe does not. The
// goroutine that reads standard input may outlive ctx by the one Read that it is in, and then ends with the process.
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

// KeysShown is how many keys ConfirmKeys shows.
const KeysShown = 10

// ConfirmKeys shows the first of the keys and asks a question about them. Only a "y" or "yes" is consent.
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
