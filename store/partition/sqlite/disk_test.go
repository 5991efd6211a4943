package sqlite

import (
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/sqlengine"
)

// TestFloorOfFreeDiskRefusesCommits lets the free space fall below the floor and rise again.
func TestFloorOfFreeDiskRefusesCommits(t *testing.T) {
	const floor = 64 << 20
	s, d, err := openDatabase(filepath.Join(t.TempDir(), "p.db"), sqlengine.Options{Name: "p", MinFreeDisk: floor})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	free := int64(floor)
	d.disk.free = func(string) (int64, bool) { return free, true }
	ctx := t.Context()
	if err := s.Prepare(ctx); err != nil {
		t.Fatal(err)
	}
	commit := func() error {
		d.disk.askedAt.Store(0) // as after freeEvery
		_, err := s.Commit(ctx, partition.Batch{Epoch: 1, Revisions: 1, Write: []partition.Entry{{Key: "k/a", Checksum: partition.Checksum(nil)}}})
		return err
	}
	free = floor - 1
	if err := commit(); !errors.Is(err, partition.ErrNoSpace) || !errors.Is(err, partition.ErrUnavailable) {
		t.Errorf("below the floor: %v", err)
	}
	free = floor
	if err := commit(); errors.Is(err, partition.ErrNoSpace) {
		t.Errorf("at the floor: %v", err)
	}
}

func TestFreeSpaceIsAskedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		d := disk{path: "/data/p.db", floor: 1, free: func(directory string) (int64, bool) {
			if directory != "/data" {
				t.Errorf("asked about %s", directory)
			}
			asked++
			return 1, true
		}}
		for range 100 {
			if err := d.checkRoom(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(freeEvery / 10)
		}
		if asked != 10 {
			t.Errorf("asked %d times in 10 s", asked)
		}
	})
}

func TestUnknownFreeSpaceRefusesNothing(t *testing.T) {
	_, d, err := openDatabase(filepath.Join(t.TempDir(), "p.db"), sqlengine.Options{Name: "p", MinFreeDisk: 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	d.disk.free = func(string) (int64, bool) { return 0, false }
	if err := d.disk.checkRoom(); err != nil {
		t.Error(err)
	}
	if free, ok := freeBytes(t.TempDir()); !ok || free <= 0 {
		t.Errorf("the real disk has %d bytes, known %v", free, ok)
	}
}

func TestFullDiskIsNamed(t *testing.T) {
	err := (&database{}).Classify(&Error{code: sqlite3.SQLITE_FULL})
	if !errors.Is(err, partition.ErrNoSpace) || !errors.Is(err, partition.ErrUnavailable) {
		t.Error(err)
	}
}
