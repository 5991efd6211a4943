package exchange

import (
	"net/http"
	"time"

	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/internal/signin"
	"github.com/runnelkv/runnel/store/access"
)

// SignInBrowser is POST /v1/session: it gives a browser a cookie in place of the key of the request. The cookie lasts
// for signin.MaxAge, at most as long as the secret of the key.
func (s *Shared) SignInBrowser(w *Response, r *Request) error {
	if err := s.checkBrowser(r); err != nil {
		return err
	}
	now := time.Now().UTC()
	t := signin.Ticket{KeyID: r.Identity.KeyID, Secret: r.Identity.SecretHash(), Issued: now, Expires: now.Add(signin.MaxAge)}
	if end := r.Identity.ExpiresAt; !end.IsZero() && end.Before(t.Expires) {
		t.Expires = end
	}
	w.setCookie(signin.Cookie(s.SignIn.Seal(t), t))
	w.header["Cache-Control"] = NoStore
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// SignOutBrowser is DELETE /v1/session: it drops the cookie, whether the cookie is valid or not.
func (s *Shared) SignOutBrowser(w *Response, r *Request) error {
	if err := s.checkBrowser(r); err != nil {
		return err
	}
	w.setCookie(signin.Drop())
	w.header["Cache-Control"] = NoStore
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// checkBrowser refuses a request that would set or drop the cookie over plain HTTP, or for a page of another origin.
func (s *Shared) checkBrowser(r *Request) error {
	if !s.IsSecure(r.Request) {
		return errPlainHTTP()
	}
	return s.CheckPage(r.Request, true)
}

func errPlainHTTP() error {
	return problem.New(problem.HTTPSRequired, "The request came over plain HTTP, where a sign-in cookie could be read by others.")
}

// setCookie adds a cookie to the answer.
func (w *Response) setCookie(c *http.Cookie) {
	w.header["Set-Cookie"] = append(w.header["Set-Cookie"], c.String())
}

// sendsKey allows requests with a key in the header Authorization.
func sendsKey(r *Request) (bool, error) {
	if r.Identity == nil || r.Identity.KeyID == "" || r.Header["Authorization"] == nil {
		return false, problem.New(problem.Forbidden, "To sign in, send a valid API key as Authorization: Bearer rnl_…; this request has none, or the server has no keys.")
	}
	return true, nil
}

// signedIn returns the holder of the key with which a browser has signed in. Over plain HTTP no cookie is valid.
func (s *Shared) signedIn(r *Request, cookie string) (*access.Identity, error) {
	r.Browser = true
	if s.IsSecure(r.Request) {
		if t, err := s.SignIn.Open(cookie, time.Now()); err == nil {
			r.Until = t.Expires
			return s.Keys.BySecret(t.KeyID, t.Secret)
		}
	}
	return s.Keys.Authenticate(notAToken)
}

// refuseSender returns the refusal of a request without a valid key. A browser forgets a cookie that is not valid.
func (s *Shared) refuseSender(w *Response, r *Request) error {
	if r.Browser && !s.IsSecure(r.Request) {
		return errPlainHTTP()
	}
	if r.Browser {
		w.setCookie(signin.Drop())
	}
	return problem.New(problem.Unauthenticated, "The request needs a valid API key.")
}

// checkOrigin refuses a write that a browser sends for a page of an origin that is not allowed. A write with a sign-in
// cookie must come from a page of this server, since browsers send the cookie for other ports and subdomains too.
func (s *Shared) checkOrigin(r *Request) error {
	if r.Browser && isWrite(r.Method) && r.Header["Sec-Fetch-Site"] == nil && r.Header["Origin"] == nil {
		return problem.New(problem.CrossOrigin, "A write with a sign-in cookie needs the header Sec-Fetch-Site or Origin, which browsers send.")
	}
	return s.CheckPage(r.Request, r.Browser || r.hasAmbientKey())
}

// CheckPage refuses a write of a page that may not make it. ambient allows pages of this server only. The error is a
// *problem.Error.
func (s *Shared) CheckPage(r *http.Request, ambient bool) error {
	if s.CORS.Check(r, ambient) != nil {
		return problem.New(problem.CrossOrigin, "The request comes from a page of another site.")
	}
	return nil
}

func isWrite(method string) bool {
	return method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions
}
