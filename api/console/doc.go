// Package console is the web console: pages for people, in HTML that works without scripts.
//
// The console has no access of its own. Everything that a page shows or does is a request to a route of the API, which
// [Console] sends within the process with the credentials of the browser: the same checks, limits, metrics and audit
// lines apply, and a page can show no more than its reader may request.
//
// A page is a function that asks the API and renders a template; a form is a POST that must come from a page of this
// server. Texts of clients reach a page only through html/template. A stored value is loaded from its route of the API,
// under the policy that gives the value an origin of its own. Scripts and styles are files of the server; the
// Content-Security-Policy allows no others.
package console
