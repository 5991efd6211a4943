package api

import (
	"net/http"

	"github.com/runnelkv/runnel/api/internal/negotiate"
	"github.com/runnelkv/runnel/store"
)

// Browsers cannot send Runnel-Session by themselves. Pages of keys therefore also set the session as a cookie, which
// counts for clients that accept HTML and send no session header. Other clients never see the cookie.

// maxCookieBytes is the size up to which browsers keep a cookie, including its name and attributes.
const maxCookieBytes = 4096

// cookieSession returns the session of the cookie. An invalid cookie, or a cookie of another cluster on the same host,
// counts as absent, because readers of pages could not repair it.
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

// setCookie sets the session of a page as a cookie, if the page has a session.
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

// dropCookie removes the session cookie from a read without another session, and reports whether it did. A forged
// cookie, or a cookie of a lost state of the store, must not block all pages for the browser.
func dropCookie(w *response, r *request) bool {
	if w.status != 0 || r.Header[sessionHeader] != nil || r.Header["Cookie"] == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	delete(r.Header, "Cookie")
	return true
}
