package mysql

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
	"github.com/runnelkv/runnel/test/servers"
)

// TestForgottenKillIsRepeated: the time of an operation ends while the server runs no statement of
// the connection. The server still stops the next statement, and its answer tells the outcome.
func TestForgottenKillIsRepeated(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *servers.Server{"MariaDB": servers.MariaDB, "MySQL": servers.MySQL} {
		t.Run(name, func(t *testing.T) {
			u, err := url.Parse(start(t).Database(t))
			if err != nil {
				t.Fatal(err)
			}
			password, _ := u.User.Password()
			o, err := sqlengine.Options{Name: "a"}.Complete()
			if err != nil {
				t.Fatal(err)
			}
			d, err := newDatabase(Config{Addr: u.Host, User: u.User.Username(), Password: password, Database: strings.TrimPrefix(u.Path, "/")}, o)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if err := d.Prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
			l, err := d.writers.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer d.writers.release(l)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			err = l.withKill(ctx, func() error {
				<-ctx.Done()
				time.Sleep(60 * time.Millisecond) // the KILL has found nothing by now
				return l.runText("SELECT COUNT(*) FROM information_schema.columns a, information_schema.columns b, information_schema.columns c", nothing)
			})
			if !isInterrupted(err) {
				t.Errorf("the statement ended with %v", err)
			}
		})
	}
}

// TestOutcomeIsKnownOfWhatWasNotSent: if the time of a commit ends before its statements are sent,
// the commit certainly has no effect.
func TestOutcomeIsKnownOfWhatWasNotSent(t *testing.T) {
	d := textDB()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := d.commitFast(ctx, &rawConn{d: d}, someBatch(1))
	if !errors.Is(err, context.Canceled) || errors.Is(err, partition.ErrOutcomeUnknown) {
		t.Errorf("the commit of a request that had ended: %v", err)
	}
}
