package exchange

import (
	"crypto/x509"
	"errors"
	"net/http"
	"strings"

	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/internal/signin"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/access"
)

// Keys authenticates requests. *access.Registry implements Keys.
type Keys interface {
	// Authenticate returns the sender of a request with the token; the token is "" if the request has no credentials.
	// The error is access.ErrUnauthenticated or access.ErrNotReady; with the latter there may be an identity, for the
	// status alone.
	Authenticate(token string) (*access.Identity, error)
	// BySecret returns the holder of the secret with this hash, for a request that has proved by a sealed cookie to
	// come from the holder. The errors are those of Authenticate.
	BySecret(id string, secret access.Hash) (*access.Identity, error)
	// ByID returns the holder of a key for a request that has proved by a certificate to come from the holder. The errors
	// are those of Authenticate.
	ByID(id string) (*access.Identity, error)
	// Current reports whether an identity is still valid with the same grants.
	Current(i *access.Identity) bool
	// Ready reports whether every key can be judged now.
	Ready() bool
}

// Need is a requirement of a method on the sender of a request. The zero Need is not valid.
type Need struct {
	name  string
	allow func(r *Request) (bool, error) // nil: the method needs no sender
}

// String returns the need as openapi.yaml and docs/http.md state it.
func (n Need) String() string { return n.name }

// The needs that the request alone decides. Methods of which each item has needs of its own judge the items.
var (
	Open     = Need{"open", nil}
	ReadKey  = Need{"read(key)", func(r *Request) (bool, error) { return r.Grants.CanRead(store.Name(r.Key)), nil }}
	WriteKey = Need{"write(key)", func(r *Request) (bool, error) { return r.Grants.CanWrite(store.Name(r.Key)), nil }}
	WriteAll = Need{"write(everything)", func(r *Request) (bool, error) { return r.Grants.CanWriteAll(""), nil }}
	PerItem  = Need{"each item", func(*Request) (bool, error) { return true, nil }}
	AllItems = Need{"all items", func(*Request) (bool, error) { return true, nil }}
	Monitor  = Need{"monitor", func(r *Request) (bool, error) { return r.Grants.MayMonitor(), nil }}
	Admin    = Need{"admin", func(r *Request) (bool, error) { return r.Grants.IsAdmin(), nil }}
	AnyKey   = Need{"a key", sendsKey} // in the header: a cookie cannot prolong itself
)

// NeedOf returns a need that allow decides, under the name of a need above. The error of allow refuses the request.
func NeedOf(n Need, allow func(*Request) (bool, error)) Need { return Need{n.name, allow} }

// NewNeed returns a need of a theme of its own, which allow decides by the request.
func NewNeed(name string, allow func(r *Request) (bool, error)) Need { return Need{name, allow} }

// After returns the need with a check of the request's parameters, which precedes that of the grants.
func (n Need) After(check func(*Request) error) Need {
	allow := n.allow
	n.allow = func(r *Request) (bool, error) {
		if err := check(r); err != nil {
			return false, err
		}
		return allow(r)
	}
	return n
}

// anyKey is the need of paths and methods that do not exist.
var anyKey = PerItem

const readPrefix = "read(prefix)"

// ReadPrefix needs the right to read every key with the prefix that prefixOf finds in a request. The error of prefixOf
// refuses the request.
func ReadPrefix(prefixOf func(*Request) (string, error)) Need {
	return Need{readPrefix, func(r *Request) (bool, error) {
		prefix, err := prefixOf(r)
		return err == nil && r.Grants.CanReadAll(prefix), err
	}}
}

// WritePrefix needs the right to write every key with the prefix that prefixOf finds in a request. To write every key of
// the store by the empty prefix needs an admin.
func WritePrefix(prefixOf func(*Request) (string, error)) Need {
	return Need{"write(prefix)", func(r *Request) (bool, error) {
		prefix, err := prefixOf(r)
		return err == nil && r.Grants.CanWriteAll(prefix) && (prefix != "" || r.Grants.IsAdmin()), err
	}}
}

// ForceIf needs the right to write the key, and instead the right to end foreign locks if the request asks for force.
func ForceIf(name string, asks func(*Request) (bool, error)) Need {
	return Need{name, func(r *Request) (bool, error) {
		force, err := asks(r)
		if err != nil || force {
			return err == nil && r.Grants.MayForce(), err
		}
		return r.Grants.CanWrite(store.Name(r.Key)), nil
	}}
}

var (
	unlimited = allGrants()        // the grants of requests to a server without access control
	none      = new(access.Grants) // the grants of a request without a valid key
)

func allGrants() *access.Grants {
	g, err := access.Spec{Roles: []access.Role{access.RoleAdmin}}.Compile()
	if err != nil {
		panic(err) // a bug: the role is valid
	}
	return g
}

// authenticate finds the sender of a request to a method with this need. A request to an open method needs no valid key,
// and has no grants then.
func (s *Shared) authenticate(w *Response, r *Request, n Need) error {
	if s.Keys == nil {
		return nil
	}
	i, err := s.sender(r)
	if i != nil {
		r.Identity, r.Grants = i, i.Grants
		w.private = i.KeyID != ""
	}
	switch {
	case err == nil:
		return s.AdmitKey(i.KeyID)
	case n.allow == nil, errors.Is(err, access.ErrNotReady) && i != nil && n.name == Monitor.name:
		return nil
	case errors.Is(err, access.ErrNotReady):
		return problem.New(problem.NotReady, "The API keys could not be read yet.")
	}
	if err := s.NoteFailure(r.Request); err != nil {
		return err
	}
	return s.refuseSender(w, r)
}

// sender returns the holder of the token of a request; without a token the browser that has signed in, and without a
// cookie the holder of the key for the client's certificate.
func (s *Shared) sender(r *Request) (*access.Identity, error) {
	token := tokenOf(r.Request)
	if cookie, found := signin.Find(r.Request); found && token == "" {
		return s.signedIn(r, cookie)
	}
	if token == "" && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		if san := s.knownName(r.TLS.PeerCertificates[0]); san != "" {
			i, err := s.Keys.ByID(s.Certificates[san])
			if i != nil {
				r.SAN = san
			}
			return i, err
		}
	}
	return s.Keys.Authenticate(token)
}

// knownName returns the name of a certificate for which there is a key; "" if there is none. A URI wins over a DNS name.
func (s *Shared) knownName(c *x509.Certificate) string {
	for _, uri := range c.URIs {
		if name := uri.String(); s.Certificates[name] != "" {
			return name
		}
	}
	for _, name := range c.DNSNames {
		if s.Certificates[name] != "" {
			return name
		}
	}
	return ""
}

// notAToken stands for credentials without a token. No key looks like it.
const notAToken = "?"

// tokenOf returns the bearer token of a request (RFC 6750, section 2.1), or the password of Basic credentials (RFC 7617), for
// tools that can send nothing else; their user name does not count. "" without credentials. A key never stands in the query,
// because proxies and browsers store queries.
func tokenOf(r *http.Request) string {
	given := r.Header["Authorization"]
	switch len(given) {
	case 0:
		return ""
	case 1:
		const scheme = "Bearer "
		if v := given[0]; len(v) > len(scheme) && strings.EqualFold(v[:len(scheme)], scheme) {
			return strings.TrimLeft(v[len(scheme):], " ")
		}
		if _, password, ok := r.BasicAuth(); ok && password != "" {
			return password
		}
	}
	return notAToken
}

// authorise returns an error unless the sender of the request may use the method.
func (m *Method) authorise(r *Request) error {
	if m.Need.allow == nil {
		return nil
	}
	allowed, err := m.Need.allow(r)
	if err == nil && !allowed {
		err = Forbidden()
	}
	return err
}

// Forbidden returns the refusal of a request beyond the grants of its sender, the same whether a key exists or not.
func Forbidden() *problem.Error {
	return problem.New(problem.Forbidden, "The grants of the sender do not allow this.")
}
