package main

import (
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

func TestUnreachableServerIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	o := cli{}.run(t, nil, "get", "k", "--server", "http://"+address, "--retry", "0")
	if o.code != console.ExitFailed || !strings.Contains(o.stderr, "the server cannot be reached") || !strings.Contains(o.stderr, address) {
		t.Errorf("%+v", o)
	}
}

func TestBearerKeyIsSentAndNotFollowedElsewhere(t *testing.T) {
	other, f := newFake(t), newFake(t)
	f.before = func(w http.ResponseWriter, r *http.Request, _ string) bool {
		if got := r.Header.Get("Authorization"); got != "Bearer secret" {
			t.Errorf("Authorization: %q", got)
		}
		http.Redirect(w, r, other.url, http.StatusTemporaryRedirect)
		return true
	}
	o := cli{env: map[string]string{"RUNNEL_KEY": "secret"}}.run(t, f, "get", "k")
	if o.code != console.ExitFailed || !strings.Contains(o.stderr, "307") || len(other.requests) > 0 {
		t.Errorf("%+v; %d requests reached the other server", o, len(other.requests))
	}
}

func TestCommandsRepeatOnlyUnconditionalWrites(t *testing.T) {
	for _, tt := range []struct {
		args  string
		again bool
	}{
		{"get k", true}, {"put k v", true}, {"put k v --if-match *", false}, {"put new v --if-none-match *", false},
		{"delete k", true}, {"delete k --if-match *", false},
	} {
		f := newFake(t)
		f.set("k", "v")
		var seen atomic.Int64
		f.before = func(w http.ResponseWriter, _ *http.Request, _ string) bool {
			if seen.Add(1) > 1 {
				return false
			}
			w.Header().Set("Retry-After", "0")
			refuse(w, 503, "outcome-unknown", "the connection was lost")
			return true
		}
		o := cli{}.run(t, f, strings.Fields(tt.args)...)
		if again := seen.Load() == 2; again != tt.again || (o.code == console.ExitOK) != tt.again {
			t.Errorf("%s: %d requests, %+v; want it repeated: %v", tt.args, seen.Load(), o, tt.again)
		}
	}
}
