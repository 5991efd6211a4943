package keys

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

func TestHTTPDate(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	for range 20_000 {
		at := time.UnixMicro(random.Int64N(1<<53) - 1<<50).In(time.FixedZone("", int(random.Int32N(86400))-43200))
		if got, want := string(appendHTTPDate(nil, at)), at.UTC().Format(http.TimeFormat); got != want {
			t.Fatalf("%v: %q, want %q (seed %d)", at, got, want, seed)
		}
	}
	for _, year := range []int{-1, 0, 1, 999, 9999, 10000} {
		at := time.Date(year, 12, 31, 23, 59, 59, 0, time.UTC)
		if got, want := string(appendHTTPDate(nil, at)), at.Format(http.TimeFormat); got != want {
			t.Errorf("year %d: %q, want %q", year, got, want)
		}
	}
}

func TestSecondsRoundUp(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1: "0.001", time.Millisecond: "0.001", time.Millisecond + 1: "0.002", 412 * time.Millisecond: "0.412",
		999*time.Millisecond + 1: "1.000", time.Second: "1.000", 90*time.Second + 50*time.Millisecond: "90.050", 400 * 24 * time.Hour: "34560000.000",
	} {
		if got := seconds(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
		bound, err := strconv.ParseFloat(seconds(d), 64)
		if err != nil || time.Duration(bound*float64(time.Second)+0.5) < d {
			t.Errorf("%v: %s is less, or no number: %v", d, seconds(d), err)
		}
	}
}

// TestLastModifiedIsNeverAheadOfTheAnswer: the entry comes from a master whose clock is ahead.
func TestLastModifiedIsNeverAheadOfTheAnswer(t *testing.T) {
	w := new(exchange.Shared).Begin(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	setValidators(w, &store.Entry{Revision: 7, ModifiedAt: partition.InstantOf(time.Now().Add(time.Hour))}, negotiate.FormatRaw)
	at, err := http.ParseTime(w.Header().Get("Last-Modified"))
	if err != nil || at.After(time.Now()) {
		t.Errorf("Last-Modified %v, %v", at, err)
	}
}
