package test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestHistoryChecksFindPlantedFaults gives the checks of histories what cannot be,
// one fault of each kind, beside what is like it and can be.
func TestHistoryChecksFindPlantedFaults(t *testing.T) {
	for name, c := range map[string]struct {
		told [][]told // those of one slice are under way at once
		can  bool
	}{
		"a read of the last write":              {turns(wrote("a", 1), read("a", 1), wrote("b", 2), read("b", 2)), true},
		"a stale master read":                   {turns(wrote("a", 1), wrote("b", 2), read("a", 1)), false},
		"a stale read beside the write":         {atOnce(wrote("a", 1), wrote("b", 2), read("a", 1)), true},
		"a new entry, then the old again":       {append(atOnce(wrote("a", 1), wrote("b", 2), read("b", 2)), []told{read("a", 1)}), false},
		"an acknowledged write that is lost":    {turns(wrote("a", 1), readNothing()), false},
		"a deletion undone":                     {turns(wrote("a", 1), deleted(2), read("a", 1)), false},
		"a value that nobody wrote":             {turns(wrote("a", 1), read("b", 2)), false},
		"a value with the revision of another":  {turns(wrote("a", 1), read("a", 2)), false},
		"revisions that go back":                {turns(wrote("a", 2), wrote("b", 1)), false},
		"a revision given twice":                {turns(wrote("a", 1), deleted(1)), false},
		"both If-Match of one entry held":       {append(turns(wrote("a", 1)), []told{ifMatch(1, "b", 2), ifMatch(1, "c", 3)}), false},
		"one of two If-Match held":              {append(turns(wrote("a", 1)), []told{ifMatch(1, "b", 2), refusedMatch(1, "c")}), true},
		"If-Match refused for no reason":        {turns(wrote("a", 1), refusedMatch(1, "b")), false},
		"a conditional write lost":              {turns(wrote("a", 1), ifMatch(1, "b", 2), read("a", 1)), false},
		"a refused write done":                  {turns(wrote("a", 1), wrote("b", 2), refusedMatch(1, "c"), read("c", 3)), false},
		"both If-None-Match held":               {atOnce(ifNoneMatch("a", 1), ifNoneMatch("b", 2)), false},
		"both created":                          {atOnce(created("a", 1), created("b", 2)), false},
		"an unknown write that is done":         {turns(wrote("a", 1), unknown(wrote("b", 0)), read("b", 2)), true},
		"an unknown write that is not":          {turns(wrote("a", 1), unknown(wrote("b", 0)), read("a", 1)), true},
		"an unknown write that is done late":    {turns(wrote("a", 1), unknown(wrote("b", 0)), read("a", 1), read("b", 2)), true},
		"an unknown write that is undone":       {turns(wrote("a", 1), unknown(wrote("b", 0)), read("b", 2), read("a", 1)), false},
		"an unknown write done before its time": {turns(read("a", 1), unknown(wrote("a", 0))), false},
		"an unknown condition that cannot hold": {turns(wrote("a", 1), wrote("b", 2), unknown(ifMatch(1, "c", 0)), read("c", 3)), false},
		"a whole transaction":                   {turns(wroteAll("a", 1), readAll("a", 1), wroteAll("b", 4), readAll("b", 4)), true},
		"a torn transaction":                    {atOnce(wroteAll("a", 1), torn("a", 1)), false},
		"an unknown transaction that is torn":   {turns(unknown(wroteAll("a", 0)), torn("a", 1)), false},
		"a transaction done though refused":     {turns(wroteAll("a", 1), refusedAll(2, "b"), readAll("b", 4)), false},
		"transactions that cross":               {append(turns(wroteAll("a", 1)), []told{crossing(0, 1), crossing(1, 0)}), false},
		"transactions in turn":                  {turns(wroteAll("a", 1), crossing(0, 1)), true},
		"two orders seen":                       {atOnce(wroteOne(0), wroteOne(1), seenOne(0, 1), seenOne(1, 0)), false},
	} {
		t.Run(name, func(t *testing.T) {
			seen(t, name, recordOf(c.told).disorders(), !c.can)
		})
	}
}

// recordOf puts slices of operations one after another.
func recordOf(turns [][]told) *record {
	r := newRecord()
	for i, atOnce := range turns {
		for _, o := range atOnce {
			o.called, o.returned = time.Duration(100*i), time.Duration(100*i+50)
			r.note(o)
		}
	}
	return r
}

func turns(all ...told) (turns [][]told) {
	for _, o := range all {
		turns = append(turns, []told{o})
	}
	return turns
}

func atOnce(all ...told) [][]told { return [][]told{all} }

func done(results ...result) answer { return answer{succeeded: true, results: results} }

func wrote(value string, revision int64) told {
	return told{asked: asked{then: []step{{"put", 0, value}}}, answer: done(result{found: revision != 1, revision: revision})}
}

func created(value string, revision int64) told {
	return told{asked: asked{then: []step{{"put", 0, value}}}, answer: done(result{revision: revision})}
}

func deleted(revision int64) told {
	return told{asked: asked{then: []step{{op: "delete"}}}, answer: done(result{found: true, revision: revision})}
}

func read(value string, revision int64) told {
	return told{asked: asked{then: []step{getOf(0)}}, answer: done(result{true, value, revision})}
}

func readNothing() told { return told{asked: asked{then: []step{getOf(0)}}, answer: done(result{})} }

func unknown(o told) told { o.answer = answer{unknown: true}; return o }

func under(o told, c ...condition) told { o.asked.conditions = c; return o }

func refuse(o told) told { o.answer = answer{}; return o }

func ifMatch(match int64, value string, revision int64) told {
	return under(wrote(value, revision), condition{0, match})
}

func refusedMatch(match int64, value string) told { return refuse(ifMatch(match, value, 0)) }

func ifNoneMatch(value string, revision int64) told {
	return under(created(value, revision), condition{0, 0})
}

// wroteAll puts a value to each key, of a revision each from the first.
func wroteAll(value string, first int64) (o told) {
	for key := range groupKeys {
		o.asked.then = append(o.asked.then, step{"put", key, fmt.Sprint(value, key)})
		o.answer.results = append(o.answer.results, result{found: first != 1, revision: first + int64(key)})
	}
	o.answer.succeeded = true
	return o
}

func refusedAll(match int64, value string) told {
	return refuse(under(wroteAll(value, 0), condition{0, match}))
}

func readAll(value string, first int64) (o told) {
	for key := range groupKeys {
		o.asked.then = append(o.asked.then, getOf(key))
		o.answer.results = append(o.answer.results, result{true, fmt.Sprint(value, key), first + int64(key)})
	}
	o.answer.succeeded = true
	return o
}

// torn is a read that finds one write of a transaction, and not the others.
func torn(value string, first int64) told {
	o := readAll(value, first)
	o.answer.results[groupKeys-1] = result{}
	return o
}

// crossing is a transaction that requires one key to be as wroteAll("a", 1) left
// it, and writes the other: of two that cross, one has broken what the other requires.
func crossing(required, written int) told {
	return under(told{asked: asked{then: []step{{"put", written, fmt.Sprint("x", written)}}}, answer: done(result{true, "", int64(10 + written)})},
		condition{required, int64(1 + required)})
}

func wroteOne(key int) told {
	return told{asked: asked{then: []step{{"put", key, fmt.Sprint("x", key)}}}, answer: done(result{false, "", int64(1 + key)})}
}

// seenOne saw what wroteOne wrote to one key, and not what it wrote to the other.
func seenOne(found, missing int) told {
	return told{asked: asked{then: []step{getOf(found), getOf(missing)}}, answer: done(result{true, fmt.Sprint("x", found), int64(1 + found)}, result{})}
}

// TestSessionChecksFindPlantedFaults does so for sessions.
func TestSessionChecksFindPlantedFaults(t *testing.T) {
	put := func(session int, key, value string, revision int64) sighting {
		return sighting{session: session, key: key, op: "put", value: value, revision: revision}
	}
	get := func(session int, key, value string, revision int64) sighting {
		return sighting{session: session, key: key, op: "get", found: true, value: value, revision: revision}
	}
	del := func(session int, key string, revision int64) sighting {
		return sighting{session: session, key: key, op: "delete", found: true, revision: revision}
	}
	nothing := func(session int, key string) sighting { return sighting{session: session, key: key, op: "get"} }
	unsure := func(s sighting) sighting { s.unknown, s.revision = true, 0; return s }
	two := []sighting{put(1, "k", "a", 1), put(1, "k", "b", 2)}
	for name, c := range map[string]struct {
		then []sighting // by another session, after two writes of the first
		can  bool
	}{
		"an old read by who knows nothing":     {[]sighting{get(2, "k", "a", 1), get(2, "k", "b", 2)}, true},
		"older than its own write":             {[]sighting{get(1, "k", "a", 1)}, false},
		"its own write":                        {[]sighting{get(1, "k", "b", 2)}, true},
		"a read that goes back":                {[]sighting{get(2, "k", "b", 2), get(2, "k", "a", 1)}, false},
		"nothing after its own write":          {[]sighting{nothing(1, "k")}, false},
		"nothing after an entry":               {[]sighting{get(2, "k", "b", 2), nothing(2, "k")}, false},
		"nothing after another's deletion":     {[]sighting{del(2, "k", 3), nothing(1, "k")}, true},
		"an entry after its own deletion":      {[]sighting{del(2, "k", 3), get(2, "k", "b", 2)}, false},
		"an entry after nothing":               {[]sighting{del(2, "k", 3), nothing(1, "k"), get(1, "k", "b", 2)}, false},
		"a deletion that is perhaps done":      {[]sighting{unsure(del(2, "k", 3)), nothing(1, "k")}, true},
		"a deletion done after all, and back":  {[]sighting{unsure(del(2, "k", 3)), nothing(1, "k"), get(1, "k", "b", 2)}, false},
		"a deletion that had not begun":        {[]sighting{nothing(1, "k"), del(2, "k", 3)}, false},
		"a write that is perhaps done":         {[]sighting{unsure(put(1, "k", "c", 3)), get(1, "k", "b", 2), get(1, "k", "c", 3)}, true},
		"a write that is undone":               {[]sighting{unsure(put(1, "k", "c", 3)), get(1, "k", "c", 3), get(1, "k", "b", 2)}, false},
		"an old read of a key before another":  {[]sighting{put(2, "other", "o", 3), get(2, "k", "a", 1)}, false},
		"another key missing that came before": {[]sighting{put(3, "other", "o", 3), put(2, "later", "l", 4), nothing(2, "other")}, false},
		"another key missing that came after":  {[]sighting{put(2, "later", "l", 3), put(3, "other", "o", 4), nothing(2, "other")}, true},
		"a value that nobody wrote":            {[]sighting{get(2, "k", "c", 3)}, false},
		"a revision that was another's":        {[]sighting{get(2, "k", "a", 2)}, false},
		"a write before what it has seen":      {[]sighting{get(2, "k", "b", 2), put(2, "k", "c", 1)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &sightings{all: slices.Concat(two, c.then)}
			for i := range s.all {
				s.all[i].called, s.all[i].returned = time.Duration(10*i), time.Duration(10*i+5)
			}
			seen(t, name, s.older(), !c.can)
		})
	}
}

// TestHistoryChecksFindPlantedClients has clients that do not do what they record,
// at a server whose replica is held back: one reads from any partition as if it
// were the master, one forgets its session, and one does a transaction in pieces.
func TestHistoryChecksFindPlantedClients(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := writeConfig(t, "", "sqlite:"+filepath.Join(dir, "0.db"), "sqlite:"+filepath.Join(dir, "1.db"))
	mustRunOnce(t, file)
	node := serve(t, "--config", file, "--no-sync")
	c := client{random: newRandom(t), http: &http.Client{Timeout: 30 * time.Second}}
	c.server = func(*rand.Rand) string { return node.url }
	eventually(t, 30*time.Second, "the replica answers", func() error {
		if r, _, _ := c.send(http.MethodGet, "/v1/keys", ""); r.header.Get("Runnel-Partition") != "partition-1" {
			return fmt.Errorf("answered %d %s", r.status, r.body)
		}
		return nil
	})
	whole := func(group string, _ int) string { return group }

	for read, can := range map[string]bool{knownReads: true, "": false} {
		g := newRegistrar(c, newRecord(), whole)
		g.read = read
		group := fmt.Sprint("known-", can)
		for range 40 {
			g.ask(group, g.register(group))
			g.ask(group, asked{then: []step{getOf(0)}})
		}
		mustHold(t, "answers", g.record.faults)
		seen(t, "the order of reads from "+read, g.record.disorders(), !can)
	}
	for _, forgetful := range []bool{false, true} {
		s := &sessionClient{client: c, sightings: &sightings{record: newRecord()}, forgetful: forgetful}
		for range 200 {
			s.step()
		}
		mustHold(t, "answers", s.sightings.record.faults)
		seen(t, fmt.Sprint("sessions, forgotten: ", forgetful), s.sightings.older(), forgetful)
	}
	for _, pieces := range []bool{false, true} {
		g := newRegistrar(c, newRecord(), func(group string, key int) string { return fmt.Sprintf("{%s}/%d", group, key) })
		transferBesideAReader(g, pieces)
		mustHold(t, "answers", g.record.faults)
		seen(t, fmt.Sprint("transactions, in pieces: ", pieces), g.record.disorders(), pieces)
	}
}

// transferBesideAReader writes two keys and reads them, once between the pieces if
// the write is done in such.
func transferBesideAReader(g *registrar, pieces bool) {
	group := fmt.Sprint("pieces-", pieces)
	both := asked{then: []step{getOf(0), getOf(1)}}
	write := asked{then: []step{g.put(0), g.put(1)}}
	g.ask(group, both)
	if !pieces {
		g.ask(group, write)
	} else {
		noted := told{group: group, asked: write, called: g.record.now()}
		var results []result
		for _, st := range write.then {
			a, _, _ := g.single(group, asked{then: []step{st}})
			results = append(results, a.results...)
			if st.key == 0 {
				g.ask(group, both)
			}
		}
		noted.returned, noted.answer = g.record.now(), done(results...)
		g.record.note(noted)
	}
	g.ask(group, both)
}
