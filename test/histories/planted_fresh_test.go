package histories

import (
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
)

// TestFreshnessChecksFindPlantedFaults does so for reads that ask to be fresh, of
// three partitions.
func TestFreshnessChecksFindPlantedFaults(t *testing.T) {
	put := func(copies int, value string, revision int64) observation {
		return observation{key: "k", op: "put", value: value, revision: revision, copies: copies}
	}
	get := func(asked freshness, value string, revision int64) observation {
		return observation{key: "k", op: "get", found: true, value: value, revision: revision, copies: 1, wanted: asked}
	}
	nothing := func(asked freshness) observation { return observation{key: "k", op: "get", wanted: asked} }
	del := func(revision int64) observation {
		return observation{key: "k", op: "delete", found: true, revision: revision, copies: 1}
	}
	unsure := func(s observation) observation { s.unknown, s.revision, s.copies = true, 0, 0; return s }
	of := func(n int) freshness { return freshness{copies: n} }
	within := func(d time.Duration) freshness { return freshness{maxStaleness: d} } // a turn is 10
	for name, c := range map[string]struct {
		all []observation // the first is of three copies
		can bool
	}{
		"one of one copy":                           {[]observation{put(3, "a", 1), put(1, "b", 2), get(of(1), "a", 1)}, true},
		"one of two copies":                         {[]observation{put(3, "a", 1), put(2, "b", 2), get(of(1), "a", 1)}, true},
		"one of three copies":                       {[]observation{put(3, "a", 1), put(3, "b", 2), get(of(1), "a", 1)}, false},
		"two of one copy":                           {[]observation{put(3, "a", 1), put(1, "b", 2), get(of(2), "a", 1)}, true},
		"two of two copies":                         {[]observation{put(3, "a", 1), put(2, "b", 2), get(of(2), "a", 1)}, false},
		"all of one copy":                           {[]observation{put(3, "a", 1), put(1, "b", 2), get(of(3), "a", 1)}, false},
		"nothing at two of two copies":              {[]observation{put(2, "a", 1), nothing(of(2))}, false},
		"nothing at two of one copy":                {[]observation{put(1, "a", 1), nothing(of(2))}, true},
		"nothing after a deletion":                  {[]observation{put(3, "a", 1), del(2), nothing(of(2))}, true},
		"nothing after a deletion nobody knows of":  {[]observation{put(3, "a", 1), unsure(del(2)), nothing(of(2))}, true},
		"nothing before the deletion":               {[]observation{put(3, "a", 1), nothing(of(2)), del(2)}, false},
		"two of a deletion":                         {[]observation{put(3, "a", 1), del(2), get(of(2), "a", 1)}, true},
		"all of a deletion":                         {[]observation{put(3, "a", 1), del(2), get(of(3), "a", 1)}, false},
		"a newer one":                               {[]observation{put(3, "a", 1), put(1, "b", 2), get(of(2), "b", 2)}, true},
		"one that nobody knows of":                  {[]observation{put(3, "a", 1), unsure(put(0, "b", 2)), get(of(2), "b", 2)}, true},
		"one that nobody wrote":                     {[]observation{put(3, "a", 1), get(of(2), "b", 2)}, false},
		"an old one within the time":                {[]observation{put(3, "a", 1), put(1, "b", 2), get(within(10), "a", 1)}, true},
		"an old one beyond the time":                {[]observation{put(3, "a", 1), put(1, "b", 2), get(within(4), "a", 1)}, false},
		"one that was replaced long before":         {[]observation{put(3, "a", 1), put(1, "b", 2), put(1, "c", 3), get(within(10), "a", 1)}, false},
		"one that was replaced just before":         {[]observation{put(3, "a", 1), put(1, "b", 2), put(1, "c", 3), get(within(10), "b", 2)}, true},
		"nothing within the time":                   {[]observation{put(3, "a", 1), nothing(within(10))}, true},
		"nothing beyond the time":                   {[]observation{put(3, "a", 1), nothing(within(4))}, false},
		"older than was read before the time":       {[]observation{put(3, "a", 1), unsure(put(0, "b", 2)), get(within(4), "b", 2), get(within(4), "a", 1)}, false},
		"what was deleted before the time":          {[]observation{put(3, "a", 1), del(2), get(within(4), "a", 1)}, false},
		"what was deleted within the time":          {[]observation{put(3, "a", 1), del(2), get(within(10), "a", 1)}, true},
		"nothing, then what was before":             {[]observation{put(3, "a", 1), del(2), nothing(within(10)), get(within(30), "a", 1)}, true},
		"what nobody asked to be fresh can be what": {[]observation{put(3, "a", 1), put(3, "b", 2), get(freshness{}, "a", 1)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &observations{all: c.all}
			for i := range s.all {
				s.all[i].called, s.all[i].returned = time.Duration(10*i), time.Duration(10*i+5)
			}
			runnel.WantFaults(t, name, s.freshnessViolations(3), !c.can)
		})
	}
}
