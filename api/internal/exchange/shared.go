package exchange

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/internal/cors"
	"github.com/runnelkv/runnel/api/internal/pages"
	"github.com/runnelkv/runnel/api/internal/signin"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
)

// Shared holds the parts that the services of all routes share. Nothing changes it after the start.
type Shared struct {
	Store    Store
	Budget   *budget.Budget
	Pages    *pages.Pages
	Logger   *slog.Logger
	Timeouts Timeouts
	Leaving  context.Context // ends when the server wants no new clients
	Draining context.Context // ends when the server drains, at the end of Leaving or later
	CORS     *cors.Policy
	Audit    Audit
	AdmitKey func(keyID string) error // refuses a key that sends too many requests
	// AdmitStream refuses a long answer to a client that has too many; otherwise call release at its end. nil: no limit.
	AdmitStream func(*Request) (release func(), err error)
	// NoteFailure counts a request without a valid key, and refuses a client that sends too many.
	NoteFailure func(*http.Request) error
	Keys        Keys // nil: every request may do everything
	SignIn      *signin.Sealer
	// IsSecure reports whether the client has sent the request over HTTPS, perhaps to a trusted proxy.
	IsSecure func(*http.Request) bool
	// Certificates are ids of keys by the URI or DNS name of a client's certificate.
	Certificates map[string]string
	Version      string // of the program, shown to admins
}

// Store is the part of the store that every route uses.
type Store interface {
	// CheckName returns a *store.KeyError if name is not a valid key.
	CheckName(name string) error
	// Tag identifies the cluster in tokens; 0 while the cluster is unknown.
	Tag() store.ClusterTag
	// Lost reports whether the session has seen writes that a restore has undone.
	Lost(session store.Vector) bool
}

// Timeouts bound how long clients may take.
type Timeouts struct {
	Body  time.Duration // to send a small body, or the next 64 KiB of a large body
	Write time.Duration // to read a small answer, or the next 256 KiB of a large answer
}

// Paths, and prefixes of paths.
const (
	KeysPath      = wire.KeysPath
	BucketPath    = "/bucket/"
	CanonicalPath = "/canonicalbucket/"
	ChangesPath   = "/v1/changes"
	ProblemsPath  = wire.ProblemsPath
)

// Shared header values. Never modify them.
var (
	NoCache    = []string{"no-cache"} // caches must revalidate
	NoStore    = []string{"no-store"}
	VaryAccept = []string{"Accept"}

	varySender     = []string{"Authorization, Cookie, Accept"}
	privateNoCache = []string{"private, no-cache"}
	bearer         = []string{"Bearer"}
)
