package ledger_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/api/internal/apitest"
)

// TestWalkThroughAShopsPayments sends the requests of docs/ledger.md in their order, and compares the answers with the page.
func TestWalkThroughAShopsPayments(t *testing.T) {
	page, err := os.ReadFile("../../../docs/ledger.md")
	if err != nil {
		t.Fatal(err)
	}
	n := apitest.NewFilled(t)
	// A method, a path, perhaps a body and an Idempotency-Key, the status, and perhaps a part of the answer.
	request := regexp.MustCompile(`(?m)^    (GET|PUT|POST) (\S+)(?: (\{.*?\}))?(?: Idempotency-Key: (\S+))? → (\d{3})(?: (.+))?$`)
	found := request.FindAllStringSubmatch(string(page), -1)
	if len(found) < 18 {
		t.Fatalf("the page has only %d requests", len(found))
	}
	for _, r := range found {
		var headers []string
		if r[4] != "" {
			headers = []string{"Idempotency-Key", r[4]}
		}
		w := n.Do(t, r[1], r[2], r[3], headers...)
		if strconv.Itoa(w.Code) != r[5] || !strings.Contains(w.Body.String(), r[6]) {
			t.Errorf("%s: %d %s", r[0], w.Code, w.Body)
		}
	}
}
