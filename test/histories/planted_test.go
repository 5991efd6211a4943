package histories

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
)

// TestHistoryChecksFindPlantedFaults gives the linearizability check impossible histories, one for each kind of
// fault, and similar histories that are possible.
func TestHistoryChecksFindPlantedFaults(t *testing.T) {
	for name, c := range map[string]struct {
		history [][]operation // the operations of an inner slice overlap
		can     bool
	}{
		"a read of the last write":              {turns(wrote("a", 1), read("a", 1), wrote("b", 2), read("b", 2)), true},
		"a stale master read":                   {turns(wrote("a", 1), wrote("b", 2), read("a", 1)), false},
		"a stale read beside the write":         {atOnce(wrote("a", 1), wrote("b", 2), read("a", 1)), true},
		"a new entry, then the old again":       {append(atOnce(wrote("a", 1), wrote("b", 2), read("b", 2)), []operation{read("a", 1)}), false},
		"an acknowledged write that is lost":    {turns(wrote("a", 1), readNothing()), false},
		"a deletion undone":                     {turns(wrote("a", 1), deleted(2), read("a", 1)), false},
		"a value that nobody wrote":             {turns(wrote("a", 1), read("b", 2)), false},
		"a value with the revision of another":  {turns(wrote("a", 1), read("a", 2)), false},
		"revisions that go back":                {turns(wrote("a", 2), wrote("b", 1)), false},
		"a revision given twice":                {turns(wrote("a", 1), deleted(1)), false},
		"both If-Match of one entry held":       {append(turns(wrote("a", 1)), []operation{ifMatch(1, "b", 2), ifMatch(1, "c", 3)}), false},
		"one of two If-Match held":              {append(turns(wrote("a", 1)), []operation{ifMatch(1, "b", 2), refusedMatch(1, "c")}), true},
		"If-Match refused for no reason":        {turns(wrote("a", 1), refusedMatch(1, "b")), false},
		"a conditional write lost":              {turns(wrote("a", 1), ifMatch(1, "b", 2), read("a", 1)), false},
		"a refused write done":                  {turns(wrote("a", 1), wrote("b", 2), refusedMatch(1, "c"), read("c", 3)), false},
		"both If-None-Match held":               {atOnce(ifNoneMatch("a", 1), ifNoneMatch("b", 2)), false},
		"both created":                          {atOnce(created("a", 1), created("b", 2)), false},
		"an unknown write that is done":         {turns(wrote("a", 1), withUnknownOutcome(wrote("b", 0)), read("b", 2)), true},
		"an unknown write that is not":          {turns(wrote("a", 1), withUnknownOutcome(wrote("b", 0)), read("a", 1)), true},
		"an unknown write that is done late":    {turns(wrote("a", 1), withUnknownOutcome(wrote("b", 0)), read("a", 1), read("b", 2)), true},
		"an unknown write that is undone":       {turns(wrote("a", 1), withUnknownOutcome(wrote("b", 0)), read("b", 2), read("a", 1)), false},
		"an unknown write done before its time": {turns(read("a", 1), withUnknownOutcome(wrote("a", 0))), false},
		"an unknown condition that cannot hold": {turns(wrote("a", 1), wrote("b", 2), withUnknownOutcome(ifMatch(1, "c", 0)), read("c", 3)), false},
		"a whole transaction":                   {turns(wroteAll("a", 1), readAll("a", 1), wroteAll("b", 4), readAll("b", 4)), true},
		"a torn transaction":                    {atOnce(wroteAll("a", 1), torn("a", 1)), false},
		"an unknown transaction that is torn":   {turns(withUnknownOutcome(wroteAll("a", 0)), torn("a", 1)), false},
		"a transaction done though refused":     {turns(wroteAll("a", 1), refusedAll(2, "b"), readAll("b", 4)), false},
		"transactions that cross":               {append(turns(wroteAll("a", 1)), []operation{crossing(0, 1), crossing(1, 0)}), false},
		"transactions in turn":                  {turns(wroteAll("a", 1), crossing(0, 1)), true},
		"two orders seen":                       {atOnce(wroteOne(0), wroteOne(1), seenOne(0, 1), seenOne(1, 0)), false},

		// A ttl that ends amid the fifth turn, or the sixth.
		"an entry before its time is over":      {times{0: passing("a", 1), 3: read("a", 1)}.turns(), true},
		"an entry gone too early":               {times{0: passing("a", 1), 3: readNothing()}.turns(), false},
		"an entry gone when it can be":          {times{0: passing("a", 1), 4: readNothing()}.turns(), true},
		"an entry gone where a clock is ahead":  {times{0: passing("a", 1), 4: readNothing(), 5: read("a", 1)}.turns(), true},
		"an entry there as long as it can be":   {times{0: passing("a", 1), lagged - 2: read("a", 1), lagged: readNothing()}.turns(), true},
		"an entry there too long":               {times{0: passing("a", 1), lagged: read("a", 1)}.turns(), false},
		"a slow write's entry there too long":   {append([][]operation{{long(passing("a", 1))}}, times{0: read("a", 1), 10: ifMatch(1, "b", 2)}.turns()...), false},
		"an entry renewed":                      {times{0: passing("a", 1), 3: passing("b", 2), 6: read("b", 2)}.turns(), true},
		"a renewed entry gone for its old time": {times{0: passing("a", 1), 3: passing("b", 2), 5: readNothing()}.turns(), false},
		"an entry gone while it is renewed":     {append(times{0: passing("a", 1), 1: read("a", 1)}.turns(), nil, []operation{long(ifMatch(1, "b", 2))}, nil, []operation{readNothing()}, nil, nil, []operation{read("b", 2)}), true},
		"an entry kept for ever gone":           {times{0: passing("a", 1), 3: wrote("b", 2), 9: readNothing()}.turns(), false},
		"what has expired met an If-Match":      {times{0: passing("a", 1), 6: ifMatch(1, "b", 2)}.turns(), false},
		"what has expired met no If-Match":      {times{0: passing("a", 1), 6: refusedMatch(1, "b")}.turns(), true},
		"what has expired was created anew":     {times{0: passing("a", 1), 6: ifNoneMatch("b", 2)}.turns(), true},
		"what has not expired was created anew": {times{0: passing("a", 1), 3: ifNoneMatch("b", 2)}.turns(), false},
		"a deletion found what has expired":     {times{0: passing("a", 1), 6: deleted(2)}.turns(), false},
		"read after a deletion that came late":  {times{0: passing("a", 1), 4: deletedNothing(), 5: read("a", 1)}.turns(), true},
		"If-Match of what was found expired":    {times{0: passing("a", 1), 4: refusedMatch(1, "b"), 5: ifMatch(1, "c", 2)}.turns(), false},
		"If-Match of what was read as expired":  {times{0: passing("a", 1), 4: readNothing(), 5: ifMatch(1, "c", 2)}.turns(), true},
		"a write undone by a fading one":        {times{0: passing("a", 1), 4: wrote("b", 2), 5: read("a", 1)}.turns(), false},
		"an unknown write that expires":         {times{0: withUnknownOutcome(passing("a", 0)), 1: read("a", 1), 6: readNothing()}.turns(), true},
		"an unknown write that expires late":    {times{0: withUnknownOutcome(passing("a", 0)), 8: read("a", 1), 9: readNothing()}.turns(), true},
		"an unknown write that went too soon":   {times{0: withUnknownOutcome(passing("a", 0)), 1: read("a", 1), 3: readNothing()}.turns(), false},
	} {
		t.Run(name, func(t *testing.T) {
			runnel.WantFaults(t, name, recordOf(c.history).nonLinearizable(), !c.can)
		})
	}
}

const (
	turnTime = 2 * clockDrift
	lagged   = 7 + int(clockLag/turnTime) // the turn in which an entry written by passing is gone for all operations
)

// recordOf records each inner slice after the previous slice has returned.
func recordOf(turns [][]operation) *record {
	r := newRecord()
	for i, atOnce := range turns {
		for _, o := range atOnce {
			o.called = time.Duration(i) * turnTime
			o.returned += o.called + turnTime/2
			r.add(o)
		}
	}
	return r
}

func turns(all ...operation) (turns [][]operation) {
	for _, o := range all {
		turns = append(turns, []operation{o})
	}
	return turns
}

// times maps turns to operations.
type times map[int]operation

func (all times) turns() (turns [][]operation) {
	for i := range 1 + slices.Max(slices.Collect(maps.Keys(all))) {
		var one []operation
		if o, ok := all[i]; ok {
			one = []operation{o}
		}
		turns = append(turns, one)
	}
	return turns
}

func atOnce(all ...operation) [][]operation { return [][]operation{all} }

func done(results ...result) response { return response{succeeded: true, results: results} }

func wrote(value string, revision int64) operation {
	return operation{invocation: invocation{then: []step{{op: "put", key: 0, value: value}}}, response: done(result{found: revision != 1, revision: revision})}
}

// passing writes a value that expires in the turn that begins 4 turns later, or the next.
func passing(value string, revision int64) operation {
	o := wrote(value, revision)
	o.invocation.then[0].ttl = 4*turnTime + turnTime/5
	return o
}

// long is an operation that goes on for four turns more.
func long(o operation) operation { o.returned = 4 * turnTime; return o }

func created(value string, revision int64) operation {
	return operation{invocation: invocation{then: []step{{op: "put", key: 0, value: value}}}, response: done(result{revision: revision})}
}

func deleted(revision int64) operation {
	return operation{invocation: invocation{then: []step{{op: "delete"}}}, response: done(result{found: true, revision: revision})}
}

func read(value string, revision int64) operation {
	return operation{invocation: invocation{then: []step{getOf(0)}}, response: done(result{true, value, revision})}
}

func readNothing() operation {
	return operation{invocation: invocation{then: []step{getOf(0)}}, response: done(result{})}
}

func deletedNothing() operation {
	return operation{invocation: invocation{then: []step{{op: "delete"}}}, response: done(result{})}
}

func withUnknownOutcome(o operation) operation { o.response = response{unknown: true}; return o }

func under(o operation, c ...condition) operation { o.invocation.conditions = c; return o }

func refuse(o operation) operation { o.response = response{}; return o }

func ifMatch(match int64, value string, revision int64) operation {
	return under(wrote(value, revision), condition{0, match})
}

func refusedMatch(match int64, value string) operation { return refuse(ifMatch(match, value, 0)) }

func ifNoneMatch(value string, revision int64) operation {
	return under(created(value, revision), condition{0, 0})
}

// wroteAll puts a value to each key, of a revision each from the first.
func wroteAll(value string, first int64) (o operation) {
	for key := range groupKeys {
		o.invocation.then = append(o.invocation.then, step{op: "put", key: key, value: fmt.Sprint(value, key)})
		o.response.results = append(o.response.results, result{found: first != 1, revision: first + int64(key)})
	}
	o.response.succeeded = true
	return o
}

func refusedAll(match int64, value string) operation {
	return refuse(under(wroteAll(value, 0), condition{0, match}))
}

func readAll(value string, first int64) (o operation) {
	for key := range groupKeys {
		o.invocation.then = append(o.invocation.then, getOf(key))
		o.response.results = append(o.response.results, result{true, fmt.Sprint(value, key), first + int64(key)})
	}
	o.response.succeeded = true
	return o
}

// torn is a read that finds some writes of a transaction, but not all.
func torn(value string, first int64) operation {
	o := readAll(value, first)
	o.response.results[groupKeys-1] = result{}
	return o
}

// crossing is a transaction that writes one key on condition that a second key is as wroteAll("a", 1) left it. Of
// two crossing transactions, the first breaks the condition of the second.
func crossing(required, written int) operation {
	return under(operation{invocation: invocation{then: []step{{op: "put", key: written, value: fmt.Sprint("x", written)}}}, response: done(result{true, "", int64(10 + written)})},
		condition{required, int64(1 + required)})
}

func wroteOne(key int) operation {
	return operation{invocation: invocation{then: []step{{op: "put", key: key, value: fmt.Sprint("x", key)}}}, response: done(result{false, "", int64(1 + key)})}
}

// seenOne finds the entry that wroteOne wrote to the key found, but no entry of the key missing.
func seenOne(found, missing int) operation {
	return operation{invocation: invocation{then: []step{getOf(found), getOf(missing)}}, response: done(result{true, fmt.Sprint("x", found), int64(1 + found)}, result{})}
}

// TestSessionChecksFindPlantedFaults does so for sessions.
func TestSessionChecksFindPlantedFaults(t *testing.T) {
	put := func(session int, key, value string, revision int64) observation {
		return observation{session: session, key: key, op: "put", value: value, revision: revision}
	}
	get := func(session int, key, value string, revision int64) observation {
		return observation{session: session, key: key, op: "get", found: true, value: value, revision: revision}
	}
	del := func(session int, key string, revision int64) observation {
		return observation{session: session, key: key, op: "delete", found: true, revision: revision}
	}
	nothing := func(session int, key string) observation { return observation{session: session, key: key, op: "get"} }
	page := func(s observation) observation { s.listed = true; return s } // adjacent entries of a page share a call
	txn := func(session int, keys ...string) observation {
		return observation{session: session, op: "txn", keys: keys}
	}
	unsure := func(s observation) observation { s.unknown, s.revision = true, 0; return s }
	two := []observation{put(1, "k", "a", 1), put(1, "k", "b", 2)}
	for name, c := range map[string]struct {
		then []observation // by another session, after two writes of the first
		can  bool
	}{
		"an old read by who knows nothing":       {[]observation{get(2, "k", "a", 1), get(2, "k", "b", 2)}, true},
		"older than its own write":               {[]observation{get(1, "k", "a", 1)}, false},
		"its own write":                          {[]observation{get(1, "k", "b", 2)}, true},
		"a read that goes back":                  {[]observation{get(2, "k", "b", 2), get(2, "k", "a", 1)}, false},
		"nothing after its own write":            {[]observation{nothing(1, "k")}, false},
		"nothing after an entry":                 {[]observation{get(2, "k", "b", 2), nothing(2, "k")}, false},
		"nothing after another's deletion":       {[]observation{del(2, "k", 3), nothing(1, "k")}, true},
		"an entry after its own deletion":        {[]observation{del(2, "k", 3), get(2, "k", "b", 2)}, false},
		"an entry after nothing":                 {[]observation{del(2, "k", 3), nothing(1, "k"), get(1, "k", "b", 2)}, false},
		"a deletion that is perhaps done":        {[]observation{unsure(del(2, "k", 3)), nothing(1, "k")}, true},
		"a deletion done after all, and back":    {[]observation{unsure(del(2, "k", 3)), nothing(1, "k"), get(1, "k", "b", 2)}, false},
		"a deletion that had not begun":          {[]observation{nothing(1, "k"), del(2, "k", 3)}, false},
		"a write that is perhaps done":           {[]observation{unsure(put(1, "k", "c", 3)), get(1, "k", "b", 2), get(1, "k", "c", 3)}, true},
		"a write that is undone":                 {[]observation{unsure(put(1, "k", "c", 3)), get(1, "k", "c", 3), get(1, "k", "b", 2)}, false},
		"an old read of a key before another":    {[]observation{put(2, "other", "o", 3), get(2, "k", "a", 1)}, false},
		"another key missing that came before":   {[]observation{put(3, "other", "o", 3), put(2, "later", "l", 4), nothing(2, "other")}, false},
		"another key missing that came after":    {[]observation{put(2, "later", "l", 3), put(3, "other", "o", 4), nothing(2, "other")}, true},
		"a value that nobody wrote":              {[]observation{get(2, "k", "c", 3)}, false},
		"a revision that was another's":          {[]observation{get(2, "k", "a", 2)}, false},
		"missing from a page with a later one":   {[]observation{put(3, "other", "o", 3), put(2, "later", "l", 4), page(get(1, "later", "l", 4)), page(nothing(1, "other"))}, true},
		"missing from the next page":             {[]observation{put(3, "other", "o", 3), put(2, "later", "l", 4), get(1, "later", "l", 4), page(nothing(1, "other"))}, false},
		"missing once it was on a page":          {[]observation{put(3, "other", "o", 3), put(2, "later", "l", 4), page(get(1, "later", "l", 4)), nothing(1, "other")}, false},
		"older than its transaction saw":         {[]observation{txn(2, "k"), get(2, "k", "a", 1)}, false},
		"what its transaction saw":               {[]observation{txn(2, "k"), get(2, "k", "b", 2)}, true},
		"older than another's transaction saw":   {[]observation{txn(2, "k"), get(1, "k", "b", 2), get(3, "k", "a", 1)}, true},
		"nothing after its transaction":          {[]observation{txn(2, "j", "k"), nothing(2, "k")}, false},
		"nothing after one of another key":       {[]observation{txn(2, "j"), nothing(2, "k")}, true},
		"written after its transaction":          {[]observation{txn(2, "k"), put(1, "k", "c", 3), get(2, "k", "b", 2)}, true},
		"older than its read of a later term":    {[]observation{put(3, "k", "c", 3<<40), get(2, "k", "c", 3<<40), get(2, "k", "b", 2)}, false},
		"another key missing of an earlier term": {[]observation{put(3, "other", "o", 3), put(2, "later", "l", 3<<40), nothing(2, "other")}, true},
		"another key missing of the same term":   {[]observation{put(3, "other", "o", 3<<40), put(2, "later", "l", 3<<40+1), nothing(2, "other")}, false},
		"a write before what it has seen":        {[]observation{get(2, "k", "b", 2), put(2, "k", "c", 1)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &observations{all: slices.Concat(two, c.then)}
			for i := range s.all {
				s.all[i].called, s.all[i].returned = time.Duration(10*i), time.Duration(10*i+5)
				if i > 0 && s.all[i].listed && s.all[i-1].listed {
					s.all[i].called, s.all[i].returned = s.all[i-1].called, s.all[i-1].returned
				}
			}
			runnel.WantFaults(t, name, s.sessionViolations(), !c.can)
		})
	}
}
