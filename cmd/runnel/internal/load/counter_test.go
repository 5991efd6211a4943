package load

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestCounterCountsAcrossPieces(t *testing.T) {
	const text = `{"status":200}{"status":201}"stat"status":20{"status":404}`
	random := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		c := counter{pattern: []byte(`"status":20`)}
		c.startBody()
		for rest := text; rest != ""; {
			n := min(len(rest), random.IntN(14))
			c.countIn([]byte(rest[:n]))
			rest = rest[n:]
		}
		if c.n != 3 {
			t.Fatalf("%d of 3 are counted", c.n)
		}
	}
}

// TestItemsAreSentAndCounted: each request holds its items, and an answer that lacks one is an error.
func TestItemsAreSentAndCounted(t *testing.T) {
	lacking := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
		if err != nil || len(lines) != 50 || !strings.HasPrefix(lines[49], `{"key":"k000000`) || lines[0] == lines[1] {
			t.Errorf("%d items, %v: %.200s", len(lines), err, body)
		}
		for range len(lines) - lacking {
			fmt.Fprintf(w, "{\"status\":200,\"value\":%q}\n", strings.Repeat("v", 3000)) // chunked
		}
	}))
	defer s.Close()
	p := testPlan(strings.TrimPrefix(s.URL, "http://"))
	p.Method, p.Body, p.Item, p.Items, p.Count = "POST", "{items}", "{\"key\":\"{key}\",\"value\":\"{value}\"}\n", 50, `"status":200`
	for _, lacking = range []int{0, 1} {
		r, err := Run(t.Context(), p)
		if err != nil || r.Requests != int64(200*(1-lacking)) || r.Errors != int64(200*lacking) {
			t.Errorf("with %d items lacking: %+v, %v", lacking, r, err)
		}
		if lacking == 1 && r.Samples["status 200 with 49 of 50 items as expected"] != 200 {
			t.Errorf("samples: %v", r.Samples)
		}
	}
	p.Order = "once"
	if p.Check() == nil {
		t.Error("items in order are taken")
	}
}
