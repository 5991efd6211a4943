package node

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestConnectionsThatCannotBeAcceptedAreLoggedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		e := &serverErrors{log: slog.New(slog.NewTextHandler(&text, nil))}
		for range 25 {
			e.Write([]byte("http: Accept error: accept tcp: too many open files; retrying in 1s\n"))
			e.Write([]byte("http: TLS handshake error\n"))
			time.Sleep(time.Second)
		}
		if n := strings.Count(text.String(), "too many open files"); n != 3 || strings.Contains(text.String(), "TLS") {
			t.Errorf("%d lines in 25 s, want 3:\n%s", n, text.String())
		}
	})
}
