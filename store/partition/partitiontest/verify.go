package partitiontest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/store/partition"
)

var verifyChecks = []check{
	{"DigestsAreOfTheRowsThatCount", checkDigest},
	{"DigestsFindEveryChangeOfAHead", checkDigestFinds},
	{"RowsIncludeTombstones", checkRows},
	{"RepairReplacesADamagedRow", checkRepair},
	{"RepairOfAChangedRowChangesNothing", checkRepairGuard},
	{"RepairRenamesARow", checkRepairKey},
	{"RepairRefusesDamagedRows", checkRepairRefuses},
	{"StateOfAVerificationIsKept", checkVerification},
}

// digest returns the digest of a span, and fails the check unless it is that of rows.
func digest(t *testing.T, p partition.Partition, s partition.DigestSpan, rows []partition.Entry) {
	t.Helper()
	got, err := p.Digest(t.Context(), s)
	must(t, err)
	if want := partition.DigestRows(s, rows); got != want {
		t.Errorf("the digest of %+v is %+v, want %+v", s, got, want)
	}
}

func checkDigest(t *testing.T, s suite) {
	p := s.finished(t, alpha)
	entries := append(awkward(), allShapes()[:5]...)
	claim := commit(t, p, entries...)
	all := byKey(held(t, p, alpha))
	last := claim.First + partition.Revision(len(entries)) - 1
	upTo := func(r, collected partition.Revision) []partition.Bound {
		return []partition.Bound{{Origin: beta, Revision: last}, {Origin: alpha, Revision: r, Collected: collected}}
	}
	for _, bounds := range [][]partition.Bound{nil, upTo(last, 0), upTo(last, last), upTo(claim.First+5, 0), upTo(last, last), upTo(0, 0)} {
		digest(t, p, partition.DigestSpan{Limit: len(all) + 1, Bounds: bounds}, all)
		digest(t, p, partition.DigestSpan{Limit: len(all), Bounds: bounds}, all)
		digest(t, p, partition.DigestSpan{From: all[10].Key, To: all[20].Key, Limit: 100, Bounds: bounds}, all[10:20])
		digest(t, p, partition.DigestSpan{From: all[10].Key, Limit: 7, Bounds: bounds}, all[10:17])
	}
	digest(t, p, partition.DigestSpan{From: "z", Limit: 7, Bounds: upTo(last, 0)}, nil)
}

func checkDigestFinds(t *testing.T, s suite) {
	p := s.finished(t, alpha)
	commit(t, p, allShapes()...)
	all := byKey(held(t, p, alpha))
	span := partition.DigestSpan{Limit: 100, Bounds: []partition.Bound{{Origin: alpha, Revision: all[0].Revision + 1<<20}}}
	right, err := p.Digest(t.Context(), span)
	must(t, err)
	for i := range all {
		for column, damage := range Damages() {
			rows := slices.Clone(all)
			rows[i].Metadata = slices.Clone(rows[i].Metadata)
			if damage(&rows[i]); partition.DigestRows(span, rows).Matches(right) {
				t.Errorf("a change of %s in %q is not in the digest", column, all[i].Key)
			}
		}
	}
}

func checkRows(t *testing.T, s suite) {
	p := s.finished(t, alpha)
	commit(t, p, append(allShapes(), deletion("a/first"))...)
	var want []partition.Entry
	for _, e := range byKey(held(t, p, alpha)) {
		want = append(want, headOf(e))
	}
	for _, c := range []struct {
		span     partition.Span
		from, to int
	}{
		{partition.Span{Limit: 100}, 0, len(want)},
		{partition.Span{Limit: 2}, 0, 2},
		{partition.Span{From: want[1].Key, To: want[4].Key, Limit: 100}, 1, 4},
		{partition.Span{From: "z", Limit: 1}, 0, 0},
	} {
		rows, err := p.Rows(t.Context(), c.span)
		must(t, err)
		wantEntries(t, rows, want[c.from:c.to])
	}
	n, err := p.RowCount(t.Context())
	must(t, err)
	if n < 0 {
		t.Errorf("%d rows", n)
	}
}

// damaged returns a partition with some entries, and the entries as they were before one of them lost its value.
func damaged(t *testing.T, s suite, name string) (p node, right []partition.Entry, wrong partition.Entry) {
	t.Helper()
	p = s.finished(t, name)
	commitOrCopy(t, s, p)
	right = held(t, p, alpha)
	wrong = right[0]
	wrong.ExpiresAt, wrong.Value = 77, []byte("xalue")
	plant(t, p, right[0].Key, wrong)
	return p, right, wrong
}

// commitOrCopy fills the partition with the shapes of alpha.
func commitOrCopy(t *testing.T, s suite, p node) {
	t.Helper()
	if p.Name() == alpha {
		commit(t, p, allShapes()...)
		return
	}
	master := s.finished(t, alpha)
	to := commit(t, master, allShapes()...).First + 100
	must(t, p.Apply(t.Context(), partition.Copy{Origin: alpha, To: to, Goal: to, Entries: held(t, master, alpha)}))
}

// plant replaces the row of a key, as damage would.
func plant(t *testing.T, p node, k partition.Key, e partition.Entry) {
	t.Helper()
	if p.db.Damage == nil {
		t.Skip("this kind of database is not damaged")
	}
	p.db.Damage(t, k, e)
	got := get(t, p, e.Key)
	wantEntries(t, got, []partition.Entry{e})
	if len(got) == 1 && got[0].Intact() {
		t.Errorf("%q is not damaged", e.Key)
	}
}

func checkRepair(t *testing.T, s suite) {
	for _, name := range []string{alpha, beta} {
		p, right, wrong := damaged(t, s, name)
		before := position(t, p, alpha)
		must(t, p.Repair(t.Context(), partition.Repair{Damaged: &wrong, Right: right[0]}))
		wantEntries(t, held(t, p, alpha), right)
		if after := position(t, p, alpha); after != before {
			t.Errorf("the position was %+v and is %+v", before, after)
		}
		listed, _, err := p.List(t.Context(), partition.Span{Limit: 100, Values: true})
		must(t, err)
		wantEntries(t, listed, slices.DeleteFunc(byKey(right), func(e partition.Entry) bool { return e.Deleted }))
	}
	p, right, _ := damaged(t, s, alpha)
	next := commit(t, p, put(string(right[0].Key), "new"))
	if got := get(t, p, right[0].Key); len(got) != 1 || got[0].Revision != next.First || !got[0].Intact() {
		t.Errorf("a write over a damaged row is %s", text(got))
	}
}

func checkRepairGuard(t *testing.T, s suite) {
	p, right, wrong := damaged(t, s, beta)
	beyond := right[0]
	beyond.Revision += 1 << 30
	beyond.Checksum = partition.Checksum(beyond.Value)
	other, otherValue := wrong, wrong
	other.ModifiedAt++
	otherValue.Value = []byte("value")
	for what, r := range map[string]partition.Repair{
		"another head":          {Damaged: &other, Right: right[0]},
		"another value":         {Damaged: &otherValue, Right: right[0]},
		"beyond the position":   {Damaged: &wrong, Right: beyond},
		"a key that has a row":  {Right: right[1]},
		"a key of another row":  {Damaged: &wrong, Right: right[1]},
		"a row that is missing": {Damaged: &partition.Entry{Key: "k/none"}, Right: right[0]},
	} {
		if err := p.Repair(t.Context(), r); err == nil || !strings.Contains(err.Error(), partition.ErrPositionMoved.Error()) {
			t.Errorf("%s: %v", what, err)
		}
	}
	wantEntries(t, get(t, p, wrong.Key), []partition.Entry{wrong})
	if got := held(t, p, alpha); len(got) != len(right) {
		t.Errorf("%d rows, want %d", len(got), len(right))
	}
}

// checkRepairKey: a row with a damaged key has the revision of the right row, which is unique.
func checkRepairKey(t *testing.T, s suite) {
	p := s.finished(t, alpha)
	commit(t, p, allShapes()...)
	right := held(t, p, alpha)
	wrong := right[0]
	wrong.Key += "~"
	plant(t, p, right[0].Key, wrong)
	must(t, p.Repair(t.Context(), partition.Repair{Damaged: &wrong, Right: right[0]}))
	wantEntries(t, held(t, p, alpha), right)
	wantEntries(t, get(t, p, wrong.Key), nil)
}

func checkRepairRefuses(t *testing.T, s suite) {
	p, right, wrong := damaged(t, s, alpha)
	bad := right[0]
	bad.Value = bytes.ToUpper(bad.Value)
	wantError(t, p.Repair(t.Context(), partition.Repair{Damaged: &wrong, Right: bad}), partition.ErrDamaged)
	wantEntries(t, get(t, p, wrong.Key), []partition.Entry{wrong})
}

func checkVerification(t *testing.T, s suite) {
	n := s.node(t, alpha)
	want := partition.Verification{}
	for i := range 3 {
		got, err := n.open(t).Verification(t.Context())
		must(t, err)
		if got != want {
			t.Errorf("the state is %+v, want %+v", got, want)
		}
		positions, err := n.Positions(t.Context())
		must(t, err)
		if positions.VerifiedAt != want.VerifiedAt {
			t.Errorf("with the positions it was verified at %d, want %d", positions.VerifiedAt, want.VerifiedAt)
		}
		want = partition.Verification{VerifiedAt: 5, BeganAt: partition.Instant(7 * i), Deep: i == 1, Next: partition.Key(fmt.Sprint("k/\x00\xff", i)), Compared: 9, Differences: 2}
		must(t, n.NoteVerification(t.Context(), want))
	}
	n.db.PlantSchema(t, partition.Schema{Version: current - 1, OldestReader: current - 1, OldestWriter: current - 1})
	p := n.open(t)
	_, err := p.Verification(t.Context())
	wantError(t, err, partition.ErrRefused)
	wantError(t, p.NoteVerification(t.Context(), want), partition.ErrRefused)
}
