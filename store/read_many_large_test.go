package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/internal/storetest"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// watched is a partition that shows a test each result of a read by key before the caller
// gets the result.
type watched struct {
	*memory.Partition
	saw atomic.Pointer[func(keys []store.Key, read []store.Entry)]
}

func (p *watched) see(f func(keys []store.Key, read []store.Entry)) { p.saw.Store(&f) }

func (p *watched) show(keys []store.Key, read []store.Entry) {
	if f := p.saw.Load(); f != nil {
		(*f)(keys, read)
	}
}

func (p *watched) Get(ctx context.Context, keys []store.Key) ([]store.Entry, error) {
	read, err := p.Partition.Get(ctx, keys)
	p.show(keys, read)
	return read, err
}

func (p *watched) GetSmall(ctx context.Context, keys []store.Key, most int64) ([]store.Entry, error) {
	read, err := p.Partition.GetSmall(ctx, keys, most)
	p.show(keys, read)
	return read, err
}

// newWatched is a rig of watched partitions.
func newWatched(t *testing.T, n int, o store.Options, masters ...string) (*storetest.Rig, []*watched) {
	t.Helper()
	var parts []*watched
	for i := range n {
		parts = append(parts, &watched{Partition: memory.New(fmt.Sprintf("p%d", i))})
		o.Partitions = append(o.Partitions, parts[i])
	}
	r := &storetest.Rig{}
	r.Start(t, o, masters...)
	for _, p := range parts {
		r.Parts = append(r.Parts, p.Partition)
	}
	return r, parts
}

// scales count the bytes of values that partitions have returned and that are still in
// memory.
type scales struct {
	held, most atomic.Int64
}

func (s *scales) weigh(read []store.Entry) {
	for i := range read {
		if v := read[i].Value; len(v) >= 1<<10 { // smaller values may share memory
			s.held.Add(int64(len(v)))
			runtime.AddCleanup(&v[0], func(n int) { s.held.Add(-int64(n)) }, len(v))
		}
	}
}

// hold fails the test if more bytes than the bound are in memory.
func (s *scales) hold(t *testing.T, bound int64) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for s.held.Load() > bound {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are held at a time, more than %d", s.held.Load(), bound)
		}
		runtime.GC()
		runtime.Gosched()
	}
	s.most.Store(max(s.most.Load(), s.held.Load()))
}

// TestGetManyHoldsNoMoreThanItSays: the bound holds for every order of sizes, and for
// entries that grow while they are read.
func TestGetManyHoldsNoMoreThanItSays(t *testing.T) {
	const largest, bound = 6 << 20, 12<<20 + 6<<20
	value := strings.Repeat("v", largest)
	var small, large []string
	for i := range 600 {
		small = append(small, fmt.Sprintf("small%d", i))
	}
	sizes := map[string]int{}
	for i := range 240 {
		large = append(large, fmt.Sprintf("large%d", i))
		sizes[large[i]] = []int{40 << 10, 100 << 10, 300 << 10, 300 << 10, 700 << 10}[i%5]
	}
	for _, i := range []int{7, 8, 100} {
		sizes[large[i]] = largest
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	mixed := append(slices.Clone(small), large...)
	random.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	repeated := append(slices.Clone(small), large[:100]...)
	for i := 1; i < 100; i += 2 {
		repeated[600+i] = large[i-1]
	}
	bySize := slices.Clone(large)
	slices.SortFunc(bySize, func(a, b string) int { return sizes[b] - sizes[a] })
	for _, masters := range [][]string{{"p0"}, {"p0", "p1"}} {
		r, parts := newWatched(t, 2, storetest.Options(), masters...)
		storetest.Eventually(t, "masters", func() bool {
			return !slices.ContainsFunc(r.Status().Partitions[:len(masters)], func(p store.PartitionStatus) bool { return !p.Writable })
		})
		for _, name := range mixed {
			r.MustPut(t, name, value[:max(sizes[name], 10)])
		}
		for order, names := range map[string][]string{
			"large after small": append(slices.Clone(small), large...), "small after large": append(slices.Clone(large), small...),
			"mixed": mixed, "repeated": repeated, "smaller and smaller": append(slices.Clone(small), bySize...), "growing": append(slices.Clone(small), bySize...),
		} {
			var s scales
			var grow atomic.Bool
			grow.Store(order == "growing")
			for _, p := range parts {
				p.see(func(_ []store.Key, read []store.Entry) {
					s.weigh(read)
					s.hold(t, bound)
					for _, e := range read {
						if e.Value == nil && len(read) > 100 && grow.CompareAndSwap(true, false) {
							for _, name := range bySize[200:] {
								r.MustPut(t, name, value[:1<<20])
								sizes[name] = 1 << 20
							}
						}
					}
				})
			}
			keys := make([]store.Key, len(names))
			for i, name := range names {
				keys[i] = store.User.Key(name)
			}
			n := 0
			r.GetMany(t.Context(), keys, store.ReadOptions{Consistency: store.FromMaster}, func(i int, got store.Read, err error) {
				if want := max(sizes[names[i]], 10); err != nil || i != n || got.Entry.Size != int64(want) || !got.Entry.Intact() {
					t.Fatalf("%s: %s, the %d. of %d: %d bytes of %d, %v", order, names[i], i, n, got.Entry.Size, want, err)
				}
				n++
				s.hold(t, bound)
			})
			if n != len(keys) || s.most.Load() < largest {
				t.Errorf("%s: %d of %d, and never more than %d bytes held", order, n, len(keys), s.most.Load())
			}
		}
	}
}

// TestGetManyShowsWhatALargeValueBecame: an entry that changes between the reads of its
// head and its value is returned in its newer state. Where order counts, no older answer
// follows.
func TestGetManyShowsWhatALargeValueBecame(t *testing.T) {
	const before, after = "before", "after"
	large := func(text string, size int) string { return strings.Repeat(text, size/len(text)) }
	for _, consistency := range []store.Consistency{store.FromMaster, store.InSession, store.Any} {
		for name, becomes := range map[string]string{
			"larger": large(after, 6<<20), "smaller": after, "other": large(after, 200<<10), "gone": "",
		} {
			for _, dies := range []bool{false, true} {
				o := storetest.Options()
				o.Poll, o.Read, o.Local = time.Hour, store.ReadLocal, "p1" // no polls
				r, parts := newWatched(t, 3, o)
				keys := []store.Key{store.User.Key("first"), store.User.Key("large"), store.User.Key("last")}
				for i := range 61 {
					keys = append(keys, store.User.Key(fmt.Sprint("more", i)))
				}
				r.MustPut(t, "first", before)
				r.MustPut(t, "large", large(before, 200<<10))
				r.MustPut(t, "last", before)
				r.Level(t)
				from := parts[1]
				if consistency == store.FromMaster {
					from = parts[0]
				}
				change := func() {
					r.MustPut(t, "last", after)
					if becomes == "" {
						r.Remove(t, "large")
					} else {
						r.MustPut(t, "large", becomes)
					}
					if from == parts[1] {
						storetest.CopyAll(t, t.Context(), r.Parts[0], r.Parts[1], "p0")
					}
				}
				step := 0
				from.see(func(read []store.Key, _ []store.Entry) {
					switch step++; {
					case step == 1 && len(read) == len(keys):
						change()
					case dies && from != parts[0] && step == 2:
						from.Fail(func(string) error { return partition.ErrUnavailable })
					}
				})
				got := getMany(t, r, keys, store.ReadOptions{Consistency: consistency})
				which := fmt.Sprintf("%s, %s, dies %v: ", consistency, name, dies)
				if string(got[0].read.Entry.Value) != before || step < 2 {
					t.Errorf("%sthe first is %.20q, %v, after %d readings", which, got[0].read.Entry.Value, got[0].err, step)
				}
				if l := got[1]; becomes == "" && !errors.Is(l.err, store.ErrNotFound) || string(l.read.Entry.Value) != becomes || l.read.Seen.Revision < 5 {
					t.Errorf("%sthe large one is %.20q of %d, %v", which, l.read.Entry.Value, l.read.Entry.Size, l.err)
				}
				if last := string(got[2].read.Entry.Value); last != after && (consistency != store.Any || last != before) {
					t.Errorf("%sthe last one is %q, %v", which, last, got[2].err)
				}
			}
		}
	}
}

// TestGetManyReadsLargeValuesElsewhere: the partition that returned the heads is dead,
// emptied or damaged when the values are read.
func TestGetManyReadsLargeValuesElsewhere(t *testing.T) {
	value := strings.Repeat("v", 300<<10)
	for name, fail := range map[string]func(t *testing.T, p *watched){
		"dead": func(_ *testing.T, p *watched) { p.Fail(func(string) error { return partition.ErrUnavailable }) },
		"emptied": func(t *testing.T, p *watched) {
			if err := p.Reset(t.Context(), "p0"); err != nil {
				t.Error(err)
			}
		},
		"damaged": func(t *testing.T, p *watched) {
			read, err := p.Partition.Get(t.Context(), []store.Key{store.User.Key("20"), store.User.Key("21")})
			if err != nil {
				t.Error(err)
			}
			for _, e := range read {
				e.Value[7]++
				p.Plant(e)
			}
		},
	} {
		for _, consistency := range []store.Consistency{store.InSession, store.Any} {
			o := storetest.Options()
			o.Poll, o.Read, o.Local = time.Hour, store.ReadLocal, "p1"
			r, parts := newWatched(t, 3, o)
			var keys []store.Key
			for i := range 64 {
				r.MustPut(t, fmt.Sprint(i), value[i%3:])
				keys = append(keys, store.User.Key(fmt.Sprint(i)))
			}
			r.Level(t)
			step := 0
			parts[1].see(func([]store.Key, []store.Entry) {
				if step++; step == 1 {
					fail(t, parts[1])
				}
			})
			for i, got := range getMany(t, r, keys, store.ReadOptions{Consistency: consistency}) {
				if got.err != nil || string(got.read.Entry.Value) != value[i%3:] {
					t.Errorf("%s, %s: %d is %d bytes, %v", name, consistency, i, len(got.read.Entry.Value), got.err)
				}
			}
			if step == 0 {
				t.Errorf("%s: it was never asked", name)
			}
		}
	}
}
