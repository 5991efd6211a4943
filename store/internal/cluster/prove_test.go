package cluster_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// failCommits makes the commits and barriers of a partition fail or hang, while reads
// succeed.
func failCommits(p *memory.Partition, err error) {
	p.Fail(func(op string) error {
		if op == memory.OpCommit || op == memory.OpBarrier {
			return err
		}
		return nil
	})
}

func TestMasterThatRefusesCommitsIsNotWritable(t *testing.T) {
	for name, refusal := range map[string]error{
		"read_only": partition.ErrUnavailable, "a lost privilege": partition.ErrRefused, "unknown outcome": partition.ErrOutcomeUnknown,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				o := storetest.Options()
				o.Poll = time.Second
				o.Logger = slog.New(slog.NewTextHandler(&log, nil))
				r := storetest.New(t, 2, o)
				r.MustPut(t, "a", "1")
				count := func(text string) int { synctest.Wait(); return strings.Count(log.String(), text) }
				answers := count("partition answers")

				failCommits(r.Parts[0], refusal)
				if _, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("a"), Value: []byte("2")}); err == nil {
					t.Fatal("a write was acknowledged")
				}
				time.Sleep(time.Minute)
				st := r.Status()
				if p := st.Partitions[0]; st.Writable() || p.Writable || p.State != store.ReadOnly || !errors.Is(p.Err, refusal) || !p.Readable {
					t.Errorf("the status says %+v", p)
				}
				if n := count("master takes no writes"); n != 1 {
					t.Errorf("%d log lines, want 1:\n%s", n, log.String())
				}

				r.Parts[0].Fail(nil)
				time.Sleep(o.Poll + time.Millisecond) // without a client's write
				if p := r.Status().Partitions[0]; !p.Writable || p.State != store.Ready || p.Err != nil {
					t.Errorf("the status says %+v after the end of it", p)
				}
				if n := count("partition answers"); n != answers+1 {
					t.Errorf("%d log lines of the end, want 1:\n%s", n-answers, log.String())
				}
				r.MustPut(t, "a", "3")
			})
		})
	}
}

// TestMasterThatRefusesSomeCommitsDoesNotFloodTheLog: a refusal that stays is logged all the same.
func TestMasterThatRefusesSomeCommitsDoesNotFloodTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o := storetest.Options()
		o.Poll = time.Second
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		r := storetest.New(t, 2, o)
		put := func(refusal error) {
			failCommits(r.Parts[0], refusal)
			if _, err := r.Put(t.Context(), store.Entry{Key: store.User.Key("a")}); (err == nil) != (refusal == nil) {
				t.Fatalf("a write where commits end with %v: %v", refusal, err)
			}
			synctest.Wait()
		}
		for range 50 {
			put(partition.ErrUnavailable)
			put(nil)
		}
		if n := strings.Count(log.String(), "master takes no writes"); n != 1 {
			t.Errorf("%d log lines, want 1:\n%s", n, log.String())
		}
		put(partition.ErrUnavailable)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := strings.Count(log.String(), "master takes no writes"); n != 2 {
			t.Errorf("%d log lines of the refusal that stays, want 2:\n%s", n, log.String())
		}
	})
}

func TestIdleMasterThatRefusesCommitsIsFoundOut(t *testing.T) {
	for name, fail := range map[string]func() error{
		"refused": func() error { return partition.ErrUnavailable },
		"hanging": func() error { time.Sleep(time.Minute); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := storetest.Options()
				o.Poll = time.Second
				r := storetest.New(t, 1, o)
				time.Sleep(time.Minute)
				r.Parts[0].Fail(func(op string) error {
					if op != memory.OpCommit && op != memory.OpBarrier {
						return nil
					}
					return fail()
				})
				time.Sleep(75 * time.Second)
				if p := r.Status().Partitions[0]; p.Writable || p.State != store.ReadOnly {
					t.Errorf("the status says %+v", p)
				}
				r.Parts[0].Fail(nil)
				time.Sleep(2 * time.Minute)
				if p := r.Status().Partitions[0]; !p.Writable || p.State != store.Ready {
					t.Errorf("the status says %+v after the end of it", p)
				}
			})
		})
	}
}

func TestIdleMasterIsNotWrittenTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := storetest.Options()
		o.Poll = time.Second
		r := storetest.New(t, 1, o)
		at := r.MustPut(t, "a", "1").Revision
		time.Sleep(10 * time.Minute)
		if now := r.Status().Partitions[0].Origins[0].Revision; now != at {
			t.Errorf("an idle master went from %d to %d", at, now)
		}
	})
}
