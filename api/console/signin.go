package console

import (
	"net/http"
	"net/url"
	"strings"
)

// signInPage is the data of the sign-in.
type signInPage struct {
	Next   string // page to open afterwards
	Fault  string
	Secure bool // the connection can carry the cookie
}

// showSignIn asks for an API key.
func showSignIn(v *visit) error {
	return v.render(http.StatusOK, "signin", "Sign in", v.newSignInPage(v.r.Query.Get("next")))
}

func (v *visit) newSignInPage(next string) *signInPage {
	return &signInPage{Next: next, Secure: v.IsSecure(v.r.Request)}
}

// signIn exchanges the key of the form for the sign-in cookie, by the route that programs of pages use.
func signIn(v *visit, form url.Values) error {
	p := v.newSignInPage(form.Get("next"))
	key := strings.TrimSpace(form.Get("key"))
	if key == "" {
		p.Fault = "Enter an API key."
		return v.render(http.StatusUnprocessableEntity, "signin", "Sign in", p)
	}
	answer, err := v.do(call{method: http.MethodPost, path: "/v1/session", fields: map[string]string{"Authorization": "Bearer " + key, "Cookie": ""}})
	switch {
	case refusedAs(err, "unauthenticated"):
		p.Fault = "This key is not valid: it is mistyped, unknown, revoked or expired."
		return v.render(http.StatusUnauthorized, "signin", "Sign in", p)
	case err != nil:
		return err
	}
	v.takeCookies(answer)
	name, q := v.follow(p.Next)
	return v.redirect(name, q)
}

// signOut drops the cookie.
func signOut(v *visit, _ url.Values) error {
	answer, err := v.do(call{method: http.MethodDelete, path: "/v1/session"})
	if err != nil {
		return err
	}
	v.takeCookies(answer)
	return v.redirect("signin", url.Values{"note": {"bye"}})
}

func (v *visit) takeCookies(answer *reply) {
	v.w.Header()["Set-Cookie"] = append(v.w.Header()["Set-Cookie"], answer.header["Set-Cookie"]...)
}

// follow returns the page of a link back. A text that names no page leads to the first page, and never to another site.
func (v *visit) follow(next string) (name string, q url.Values) {
	name, query, _ := strings.Cut(next, "?")
	q, err := url.ParseQuery(query)
	if err != nil || v.pages[name].show == nil {
		return "", nil
	}
	return name, q
}
