package api

import (
	"net/http"

	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/store"
)

// A browser cannot send Runnel-Session along. For its sake pages of keys give the
// session as a cookie of that name too, which whoever accepts HTML, and sends no
// session of its own, is taken to mean. Other clients see nothing of it.

// maxCookieBytes is what browsers keep of a cookie, with its name and attributes.
const maxCookieBytes = 4096

// cookieSession is the session that a browser sends along. One that is mangled, or
// of another cluster on the same host, is none: who reads pages could not mend it.
func (s *Server) cookieSession(h http.Header) store.Vector {
	if !negotiate.AcceptsHTML(h["Accept"]) {
		return store.Vector{}
	}
	mine := s.store.Tag()
	for _, c := range (&http.Request{Header: h}).CookiesNamed(sessionHeader) {
		if v, of, err := store.ParseToken(store.SessionToken, c.Value); err == nil && (of == mine || mine == 0) && !s.store.Lost(v) {
			return v
		}
	}
	return store.Vector{}
}

// setCookie gives a browser the session of a page, if that has one.
func setCookie(h, asked http.Header) {
	token := h[sessionHeader]
	if len(token) != 1 || !negotiate.AcceptsHTML(asked["Accept"]) {
		return
	}
	c := http.Cookie{Name: sessionHeader, Value: token[0], Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if text := c.String(); len(text) <= maxCookieBytes {
		h["Set-Cookie"] = []string{text}
	}
}

// dropCookie takes the session's cookie out of a read that has no other session, and
// reports whether there was one. A forged cookie, or that of a state of the store
// which was lost, must not keep a browser from every page.
func dropCookie(w *response, r *request) bool {
	if w.status != 0 || r.Header[sessionHeader] != nil || r.Header["Cookie"] == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	delete(r.Header, "Cookie")
	return true
}
