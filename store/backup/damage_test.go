package backup_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/runnelkv/runnel/store/backup"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// threeFrames returns a backup of several blocks.
func threeFrames(t *testing.T) []byte {
	t.Helper()
	p := memory.New("a")
	found(t, p, "a")
	newWriter(t, p, 8_200).fill(t)
	file, s := take(t, p, backup.Options{})
	if s.Blocks < 3 {
		t.Fatalf("%d blocks", s.Blocks)
	}
	return file
}

// wantDamage checks that a file is refused with a place up to byte at, and that a target of its restore stays unusable.
func wantDamage(t *testing.T, what string, file []byte, at int) {
	t.Helper()
	var damage *backup.DamageError
	if _, err := backup.Check(bytes.NewReader(file), nil); !errors.As(err, &damage) {
		t.Errorf("%s at %d: %v", what, at, err)
	} else if damage.Offset > int64(at) || damage.Offset < 0 {
		t.Errorf("%s at %d is found at %d", what, at, damage.Offset)
	}
	target := memory.New("b")
	if _, err := restore(t, target, file); !errors.As(err, &damage) {
		t.Errorf("%s at %d is restored: %v", what, at, err)
	}
	if row, err := target.Cluster(t.Context()); err == nil && row.Epoch != partition.RestoringEpoch {
		t.Errorf("%s at %d leaves %+v", what, at, row)
	}
}

// TestDamageIsRefusedWithItsPlace cuts and flips a backup at a hundred places each.
func TestDamageIsRefusedWithItsPlace(t *testing.T) {
	file := threeFrames(t)
	if _, err := backup.Check(bytes.NewReader(file), nil); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	places := []int{0, 7, 8, 40, 41, len(file) - 1, len(file) - 8, len(file) - 12, len(file) - 13}
	for len(places) < 100 {
		places = append(places, rng.IntN(len(file)))
	}
	for _, at := range places {
		wantDamage(t, "a cut", file[:at], at)
		flipped := slices.Clone(file)
		flipped[at] ^= 1 << rng.IntN(8)
		wantDamage(t, "a flipped bit", flipped, at)
	}
	wantDamage(t, "an appended byte", append(slices.Clone(file), 0), len(file))
}

// frames returns the bounds of the frames in a file.
func frames(file []byte) (bounds []int) {
	at := 8
	for at < len(file)-12 {
		bounds = append(bounds, at)
		at += 33 + int(binary.LittleEndian.Uint32(file[at+9:]))
	}
	return append(bounds, at)
}

// TestFramesThatAreLostRepeatedOrMovedAreRefused: each frame has a right checksum.
func TestFramesThatAreLostRepeatedOrMovedAreRefused(t *testing.T) {
	file, other := threeFrames(t), threeFrames(t)
	at, ofOther := frames(file), frames(other)
	first, second := file[at[1]:at[2]], file[at[2]:at[3]]
	end := len(at) - 1 // index of the trailer's place
	for what, c := range map[string]struct {
		file  []byte
		place int
	}{
		"a lost frame":     {slices.Concat(file[:at[1]], file[at[2]:]), at[1]},
		"a repeated frame": {slices.Concat(file[:at[2]], first, file[at[2]:]), at[2]},
		"a moved frame":    {slices.Concat(file[:at[1]], second, first, file[at[3]:]), at[1]},
		"another backup's": {slices.Concat(file[:at[2]], other[ofOther[2]:ofOther[3]], file[at[3]:]), len(file) + len(other)},
		"no last block":    {slices.Concat(file[:at[end-2]], file[at[end-1]:]), at[end-2]},
		"no footer":        {slices.Concat(file[:at[end-1]], file[at[end]:]), len(file) - at[end] + at[end-1]},
		"no header":        {slices.Concat(file[:8], file[at[1]:]), 8},
	} {
		wantDamage(t, what, c.file, c.place)
	}
}

// TestHugeDocumentIsRefused before memory is reserved for it: the head of the header says 512 MiB.
func TestHugeDocumentIsRefused(t *testing.T) {
	file := threeFrames(t)
	binary.LittleEndian.PutUint32(file[8+13:], 512<<20)
	binary.LittleEndian.PutUint64(file[8+25:], xxh3.Hash(file[8:8+25]))
	var damage *backup.DamageError
	if _, err := backup.Check(bytes.NewReader(file), nil); !errors.As(err, &damage) || !strings.Contains(err.Error(), "536870912 bytes") {
		t.Error(err)
	}
}

// TestPeekReadsBothEnds: a base is recognised without reading the blocks, and a cut base is refused.
func TestPeekReadsBothEnds(t *testing.T) {
	file := threeFrames(t)
	whole, err := backup.Check(bytes.NewReader(file), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := backup.Peek(bytes.NewReader(file))
	if err != nil || got.ID != whole.ID || got.Entries != 8_200 || len(got.Newest["a"]) != partition.LineageEntries {
		t.Errorf("%+v, %v", got, err)
	}
	var damage *backup.DamageError
	for _, at := range []int{8, 20, len(file) / 2, len(file) - 1} {
		if _, err := backup.Peek(bytes.NewReader(file[:at])); !errors.As(err, &damage) {
			t.Errorf("cut at %d: %v", at, err)
		}
	}
}

// TestOtherFilesAreNoBackups: the message says so.
func TestOtherFilesAreNoBackups(t *testing.T) {
	for text, want := range map[string]string{
		"{\"key\":\"a\"}\n": "this is no backup of Runnel", "RUNNELB2 and more": "the backup has format \"2\"", "": "the backup is damaged at byte 0 (frame 0): the file ends here: it was cut off",
	} {
		if _, err := backup.Check(bytes.NewReader([]byte(text)), nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestDamagedEntryIsNotBackedUp: the error names the key.
func TestDamagedEntryIsNotBackedUp(t *testing.T) {
	p := memory.New("a")
	found(t, p, "a")
	w := newWriter(t, p, 10)
	w.fill(t)
	e := w.log[3]
	e.Checksum++
	p.Plant(e)
	_, err := backup.Write(t.Context(), p, new(bytes.Buffer), backup.Options{})
	if !errors.Is(err, backup.ErrDamaged) || !bytes.Contains([]byte(err.Error()), []byte(e.Key)) {
		t.Error(err)
	}
}

// viewed is a partition whose views show a damaged move.
type viewed struct{ *memory.Partition }

func (p viewed) View(ctx context.Context) (partition.View, error) {
	v, err := p.Partition.View(ctx)
	return damagedView{v}, err
}

type damagedView struct{ partition.View }

func (v damagedView) Cluster() partition.Cluster {
	c := v.View.Cluster()
	c.Moves = []partition.Move{{Slots: partition.NewSlotSet(8, 1), From: "b", To: "a", Began: 2, Done: 3}}
	return c
}

// TestDamagedMoveIsRefused: the header has a move of a cluster with other slots.
func TestDamagedMoveIsRefused(t *testing.T) {
	p := memory.New("a")
	found(t, p, "a")
	file, _ := take(t, viewed{p}, backup.Options{})
	var damage *backup.DamageError
	if _, err := backup.NewReader(bytes.NewReader(file)); !errors.As(err, &damage) {
		t.Errorf("a header with a damaged move: %v", err)
	}
}
