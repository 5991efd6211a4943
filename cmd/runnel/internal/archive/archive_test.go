package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/backup"
	"github.com/runnelkv/runnel/store/file"
	"github.com/runnelkv/runnel/store/partition"
)

// screen is a console with its outputs.
type screen struct {
	console.Streams
	out, err bytes.Buffer
}

func newScreen(in io.Reader, terminal bool) *screen {
	s := &screen{}
	s.Streams = console.Streams{In: in, Out: &s.out, Err: &s.err, Now: time.Now, IsTerminal: func(any) bool { return terminal }}
	return s
}

// cluster returns the configuration of a master and two replicas in files. The master and the first replica hold n keys.
func cluster(t *testing.T, n int) *config.Config {
	t.Helper()
	c := config.Default(filepath.Join(t.TempDir(), "data"))
	err := withPartitions(&newScreen(nil, false).Streams, c, func(ps partitions) error {
		master := ps.all[0]
		for _, p := range ps.all {
			if err := p.Prepare(t.Context()); err != nil {
				return err
			}
			row := partition.Cluster{ID: "cluster", Epoch: 1, Masters: ps.masters, Slots: make([]uint16, store.Slots)}
			if _, err := p.Join(t.Context(), row); err != nil {
				return err
			}
		}
		b := partition.Batch{Epoch: 1, Revisions: n}
		for i := range n {
			b.Write = append(b.Write, partition.Entry{Key: partition.Key(fmt.Sprintf("k/%d", i)), Revision: partition.Revision(i), Checksum: partition.Checksum(nil)})
		}
		claim, err := master.Commit(t.Context(), b)
		if err != nil {
			return err
		}
		copied := partition.Copy{Origin: partition.Origin(master.Name()), To: claim.First + partition.Revision(n) - 1, Goal: claim.First + partition.Revision(n) - 1, SyncedAt: claim.Now}
		if copied.Entries, err = master.Newest(t.Context(), copied.Origin, n); err != nil {
			return err
		}
		return ps.all[1].Apply(t.Context(), copied)
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestBackupGoesToAFileOfItsOwner: the first replica that holds everything, though another is not filled.
func TestBackupGoesToAFileOfItsOwner(t *testing.T) {
	c, s := cluster(t, 10), newScreen(nil, false)
	file := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(file, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Take(t.Context(), &s.Streams, c, TakeOptions{File: file}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if text := s.out.String(); !strings.Contains(text, "of "+c.Partitions[1].Name+", epoch 1") || !strings.Contains(text, "10 entries") {
		t.Errorf("printed %q", text)
	}
	c.Partitions[0], c.Partitions[2] = c.Partitions[2], c.Partitions[0]
	s = newScreen(nil, false)
	if err := Take(t.Context(), &s.Streams, c, TakeOptions{File: file}); err != nil || !strings.Contains(s.out.String(), "of "+c.Partitions[1].Name) {
		t.Errorf("the replica that is not filled comes first: %v, %s", err, &s.out)
	}
}

// TestFailedBackupKeepsTheOldFile: the partition is not filled.
func TestFailedBackupKeepsTheOldFile(t *testing.T) {
	c, s := cluster(t, 1), newScreen(nil, false)
	file := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Take(t.Context(), &s.Streams, c, TakeOptions{File: file, Partition: c.Partitions[2].Name})
	if text, _ := os.ReadFile(file); !errors.Is(err, backup.ErrIncomplete) || string(text) != "old" {
		t.Errorf("%v, %q", err, text)
	}
	if files, err := os.ReadDir(filepath.Dir(file)); err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}

// TestBackupGoesThroughAPipe from one configuration to another, whose databases are empty.
func TestBackupGoesThroughAPipe(t *testing.T) {
	from, to := cluster(t, 10), config.Default(filepath.Join(t.TempDir(), "data"))
	s := newScreen(nil, false)
	if err := Take(t.Context(), &s.Streams, from, TakeOptions{File: "-"}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(s.err.String(), "full backup") {
		t.Errorf("reported %q", &s.err)
	}
	verified := newScreen(bytes.NewReader(s.out.Bytes()), false)
	if err := Verify(t.Context(), &verified.Streams, []string{"-"}); err != nil {
		t.Error(err)
	}
	restored := newScreen(bytes.NewReader(s.out.Bytes()), false)
	if err := Restore(t.Context(), &restored.Streams, to, RestoreOptions{Files: []string{"-"}, NewCluster: true}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(restored.out.String(), "10 entries") || !strings.Contains(restored.out.String(), "a new epoch must begin") {
		t.Errorf("reported %q", &restored.out)
	}
}

// TestDamagedFileIsRefusedBeforeAnythingIsWritten: the second file of a chain is damaged.
func TestDamagedFileIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	from, to, dir := cluster(t, 10), config.Default(filepath.Join(t.TempDir(), "data")), t.TempDir()
	full, next := filepath.Join(dir, "full"), filepath.Join(dir, "next")
	s := newScreen(nil, false)
	for _, o := range []TakeOptions{{File: full}, {File: next, Since: full}} {
		if err := Take(t.Context(), &s.Streams, from, o); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(next)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)-40] ^= 1 // in the footer
	if err := os.WriteFile(next, text, 0o600); err != nil {
		t.Fatal(err)
	}
	o := RestoreOptions{Files: []string{full, next}, Partition: to.Partitions[1].Name}
	var damage *backup.DamageError
	if err := Restore(t.Context(), &s.Streams, to, o); !errors.As(err, &damage) || !strings.Contains(err.Error(), next) {
		t.Error(err)
	}
	err = withPartitions(&s.Streams, to, func(ps partitions) error {
		err := ps.all[1].Prepare(t.Context())
		if err == nil {
			_, err = ps.all[1].Cluster(t.Context())
		}
		return err
	})
	if !errors.Is(err, partition.ErrNoCluster) {
		t.Errorf("the target has been written: %v", err)
	}
	if err := Verify(t.Context(), &s.Streams, o.Files); err == nil || !strings.Contains(s.err.String(), next+": the backup is damaged at byte") {
		t.Errorf("%v, %s", err, &s.err)
	}
	if err := Take(t.Context(), &s.Streams, from, TakeOptions{File: filepath.Join(dir, "third"), Since: next}); err == nil {
		t.Error("the damaged backup is a base")
	}
	o.Files = o.Files[:1]
	if err := Restore(t.Context(), &s.Streams, to, o); err != nil {
		t.Errorf("after the refusal: %v", err)
	}
}

// TestRestoreSaysWhatCannotBe: nothing is written.
func TestRestoreSaysWhatCannotBe(t *testing.T) {
	from, dir := cluster(t, 10), t.TempDir()
	full := filepath.Join(dir, "full")
	s := newScreen(nil, true)
	if err := Take(t.Context(), &s.Streams, from, TakeOptions{File: "-"}); err == nil || !strings.Contains(err.Error(), "no text") {
		t.Errorf("a backup on a terminal: %v", err)
	}
	if err := Take(t.Context(), &s.Streams, from, TakeOptions{File: full}); err != nil {
		t.Fatal(err)
	}
	empty := func() *config.Config { return config.Default(filepath.Join(t.TempDir(), "data")) }
	renamed := empty()
	renamed.Partitions[0].Name, renamed.Store.Masters = "other", []string{"other"}
	if err := Take(t.Context(), &s.Streams, from, TakeOptions{File: dir + "/./full", Since: full}); err == nil || !strings.Contains(err.Error(), "replace its base") {
		t.Errorf("a backup in place of its base: %v", err)
	}
	name := from.Partitions[1].Name
	for want, c := range map[string]struct {
		to *config.Config
		o  RestoreOptions
	}{
		"only if every partition is empty": {from, RestoreOptions{Files: []string{full}, NewCluster: true}},
		"the database is not empty":        {from, RestoreOptions{Files: []string{full}, Partition: name}},
		"the masters of the backup are":    {renamed, RestoreOptions{Files: []string{full}, NewCluster: true}},
		"has no partition \"nobody\"":      {empty(), RestoreOptions{Files: []string{full}, Partition: "nobody"}},
		"can be restored only once":        {empty(), RestoreOptions{Files: []string{"-", full}, Partition: name}},
		"does not follow":                  {empty(), RestoreOptions{Files: []string{full, full}, Partition: name}},
		"no such file":                     {empty(), RestoreOptions{Files: []string{filepath.Join(dir, "none")}, Partition: name}},
		"this is no backup of Runnel":      {empty(), RestoreOptions{Files: []string{from.Partitions[0].URL.Path}, Partition: name}},
	} {
		if err := Restore(t.Context(), &s.Streams, c.to, c.o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

// TestRefusedCommandsCreateNoDatabase: the databases of the configuration do not exist.
func TestRefusedCommandsCreateNoDatabase(t *testing.T) {
	to, s, damaged := config.Default(filepath.Join(t.TempDir(), "data")), newScreen(nil, false), filepath.Join(t.TempDir(), "damaged")
	if err := os.WriteFile(damaged, []byte("RUNNELB1"), 0o600); err != nil {
		t.Fatal(err)
	}
	name := to.Partitions[1].Name
	for what, command := range map[string]func() error{
		"a backup of any partition": func() error { return Take(t.Context(), &s.Streams, to, TakeOptions{File: damaged}) },
		"a backup of a partition":   func() error { return Take(t.Context(), &s.Streams, to, TakeOptions{File: damaged, Partition: name}) },
		"a restore": func() error {
			return Restore(t.Context(), &s.Streams, to, RestoreOptions{Files: []string{damaged}, Partition: name})
		},
		"a restore of everything": func() error {
			return Restore(t.Context(), &s.Streams, to, RestoreOptions{Files: []string{damaged}, NewCluster: true})
		},
	} {
		if err := command(); err == nil {
			t.Errorf("%s succeeds", what)
		}
		for _, p := range to.Partitions {
			if _, err := os.Stat(p.URL.Path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("after %s: %s exists (%v)", what, p.URL.Path, err)
			}
		}
	}
}

// ending is an input and output that ends a context with its first use.
type ending struct {
	end context.CancelFunc
	io.Reader
}

func (e ending) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	e.end()
	return n, err
}

func (e ending) Write(p []byte) (int, error) {
	e.end()
	return len(p), nil
}

// TestInterruptedCommandsSaySo in place of what the end of the context has broken.
func TestInterruptedCommandsSaySo(t *testing.T) {
	from, to, whole := cluster(t, 10), config.Default(filepath.Join(t.TempDir(), "data")), newScreen(nil, false)
	if err := Take(t.Context(), &whole.Streams, from, TakeOptions{File: "-"}); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	s := newScreen(nil, false)
	s.Out = ending{end, nil}
	if err := Take(ctx, &s.Streams, from, TakeOptions{File: "-"}); err == nil || err.Error() != "interrupted" {
		t.Errorf("the backup: %v", err)
	}
	ctx, end = context.WithCancel(t.Context())
	s = newScreen(ending{end, &whole.out}, false)
	err := Restore(ctx, &s.Streams, to, RestoreOptions{Files: []string{"-"}, Partition: to.Partitions[1].Name})
	if err == nil || !strings.HasSuffix(err.Error(), "interrupted; repeat the command to continue") {
		t.Errorf("the restore: %v", err)
	}
}

// keepFile stores a file of two chunks on the partitions of a configuration: the first chunk on one partition, the second on another.
func keepFile(t *testing.T, c *config.Config, name string, chunks [2][]byte, at [2]int) {
	t.Helper()
	err := withPartitions(&newScreen(nil, false).Streams, c, func(ps partitions) error {
		for _, p := range ps.all {
			if err := p.Prepare(t.Context()); err != nil {
				return err
			}
		}
		m := fmt.Appendf(nil, `{"size":%d,"chunk_bytes":%d}`+"\n", len(chunks[0])+len(chunks[1]), len(chunks[0]))
		for i, data := range chunks {
			hash := partition.HashChunk(data)
			m = append(m, hash[:]...)
			if err := ps.all[at[i]].PutChunk(t.Context(), hash, data); err != nil {
				return err
			}
		}
		if _, err := file.ParseManifest(m); err != nil {
			return err
		}
		e := partition.Entry{Key: store.Files.Key(name), Value: m, Size: int64(len(m)), Checksum: partition.Checksum(m)}
		_, err := ps.all[0].Commit(t.Context(), partition.Batch{Epoch: 1, Revisions: 1, Write: []partition.Entry{e}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestBackupHasTheContentsOfFiles: chunks come from whichever partition has a whole copy, and a restore stores them. A file without a
// whole copy is named, and the backup holds everything else.
func TestBackupHasTheContentsOfFiles(t *testing.T) {
	c, s := cluster(t, 3), newScreen(nil, false)
	chunks := [2][]byte{bytes.Repeat([]byte("a"), 1000), []byte("end")}
	lost := [2][]byte{bytes.Repeat([]byte("b"), 1000), []byte("gone")}
	keepFile(t, c, "kept", chunks, [2]int{0, 2})
	backups := t.TempDir()
	whole, partial, without := filepath.Join(backups, "whole"), filepath.Join(backups, "partial"), filepath.Join(backups, "without")
	if err := Take(t.Context(), &s.Streams, c, TakeOptions{File: whole, Partition: "partition-0"}); err != nil || !strings.Contains(s.out.String(), "2 chunks, 1003 B") {
		t.Errorf("%v\n%s", err, &s.out)
	}
	keepFile(t, c, "lost", lost, [2]int{1, 2})
	err := withPartitions(&s.Streams, c, func(ps partitions) error {
		return errors.Join(ps.all[1].Prepare(t.Context()), ps.all[1].PutChunk(t.Context(), partition.HashChunk(lost[0]), []byte("damaged")))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := Take(t.Context(), &s.Streams, c, TakeOptions{File: partial, Partition: "partition-0"}); err == nil || !strings.Contains(err.Error(), `copy: ["lost"]`) {
		t.Errorf("with a damaged chunk: %v", err)
	}
	if err := Take(t.Context(), &s.Streams, c, TakeOptions{File: without, Partition: "partition-0", NoContents: true}); err != nil {
		t.Error(err)
	}
	for file, want := range map[string]int{whole: 2, partial: 3, without: 0} {
		target := config.Default(filepath.Join(t.TempDir(), "data"))
		if err := Restore(t.Context(), &s.Streams, target, RestoreOptions{Files: []string{file}, NewCluster: true}); err != nil {
			t.Fatal(err)
		}
		err := withPartitions(&s.Streams, target, func(ps partitions) error {
			if err := ps.all[0].Prepare(t.Context()); err != nil {
				return err
			}
			infos, err := ps.all[0].ListChunks(t.Context(), nil, 10)
			if err != nil || len(infos) != want {
				t.Errorf("%s: %d chunks were restored, want %d: %v", file, len(infos), want, err)
			}
			if data, err := ps.all[0].GetChunk(t.Context(), partition.HashChunk(chunks[1]), nil); want > 0 && (err != nil || !bytes.Equal(data, chunks[1])) {
				t.Errorf("%s: a chunk of another partition: %q, %v", file, data, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
