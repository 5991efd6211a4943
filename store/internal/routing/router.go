package routing

import (
	"sync"
	"time"

	"github.com/runnelkv/runnel/store/internal/backend"
	"github.com/runnelkv/runnel/store/internal/cache"
	"github.com/runnelkv/runnel/store/partition"
)

// Router chooses the backends that may answer reads. All methods are safe for concurrent use.
type Router struct {
	backends *backend.Set
	cache    *cache.Cache // may be nil
	options  Options

	mu          sync.Mutex // guards the fields below
	failedWaits map[partition.Origin]failedWait
	reading     map[*backend.Backend]bool // of which the positions are read on behalf of a session that waits
}

// Options configures a router.
type Options struct {
	Timeout     time.Duration // of a database operation
	Poll        time.Duration // how often positions are read in any case
	SessionWait time.Duration // how long a session waits for a replica; negative: sessions do not wait
	Nearest     bool          // the backend with the lowest recent latency is asked first; else a random backend
	Local       string        // the name of the backend that is asked first; "": none
	// Background runs a function in a goroutine that its owner waits for. false: the function was not run.
	Background func(func()) bool
}

// New makes a router. The cache may be nil.
func New(backends *backend.Set, c *cache.Cache, o Options) *Router {
	return &Router{backends: backends, cache: c, options: o, failedWaits: make(map[partition.Origin]failedWait), reading: make(map[*backend.Backend]bool)}
}

// readPatience is how long a backend may take to answer a read before the next candidate
// is asked. If none of the rest answers, the first slow backend gets the rest of the timeout.
const readPatience = time.Second

// Patience is how long a backend may take while there are more to ask.
func (r *Router) Patience() time.Duration { return min(readPatience, r.options.Timeout) }
