package browser

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/runnelkv/runnel/test/runnel"
)

func TestMain(m *testing.M) { os.Exit(runnel.Main(m)) }

// perPage bounds a visit of a page.
const perPage = 30 * time.Second

// open starts a browser that ends with the test, and returns its first tab.
func open(t *testing.T, flags ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skipf("SKIPPED, NOTHING IS KNOWN OF BROWSERS: %v", err)
	}
	flags = append(append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir())), flags...)
	allocator, end := chromedp.NewExecAllocator(t.Context(), flags...)
	t.Cleanup(end)
	tab, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(closeTab)
	if _, err := chromedp.Run(tab, chromedp.Location()); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	return tab
}

// visit opens a page, waits for its load event, and returns the status of the answer; 0 for a download.
func visit(t *testing.T, tab context.Context, url string) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab, perPage)
	defer cancel()
	answer, err := chromedp.Run(ctx, chromedp.NavigateResponse(url))
	switch {
	case err == nil:
		return answer.Status
	case strings.Contains(err.Error(), "net::ERR_ABORTED"): // the browser saves the value as a file
		return 0
	}
	t.Fatalf("visit %s: %v", url, err)
	return 0
}

// canary is a server of the attacker, and notes the requested paths.
type canary struct {
	*httptest.Server
	mu   sync.Mutex
	hits map[string]bool
}

func newCanary(t *testing.T) *canary {
	c := &canary{hits: map[string]bool{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.hits[r.URL.RequestURI()] = true
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Content-Type", "text/javascript")
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *canary) take() (hits []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for hit := range c.hits {
		hits = append(hits, hit)
	}
	clear(c.hits)
	return hits
}

// await waits until a path was requested.
func (c *canary) await(t *testing.T, path string) {
	t.Helper()
	runnel.Eventually(t, perPage, "the control to reach "+path, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.hits[path] {
			return http.ErrNoLocation
		}
		return nil
	})
}
