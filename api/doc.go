// Package api is Runnel over HTTP, as docs/http.md and openapi.yaml promise: routes, negotiation,
// problems, and one file a resource.
//
// A request passes the Server's one middleware (request id, recovery, metrics,
// access log), is matched by gorilla/mux to a resource, and reaches the handler
// of its method. A handler decodes, calls one method of the Store, encodes, and
// returns an error; errors become answers in one place, from one table of kinds
// (problem.go), in the form that the client accepts. What a client may choose
// between is decided in negotiate.go and nowhere else.
//
// The package promises that a key is percent-decoded once and never cleaned,
// that a body is bounded and stored whole or not at all, that everything put
// into a page is escaped, and that no answer tells of internals: these are
// logged, under the X-Request-Id that the answer carries.
//
// Reading and writing a value as it is stored is the hot path: it parses no
// Accept header that says nothing, touches no JSON, and sets its headers without
// canonicalising their names.
//
// The sync process is seen through Syncer only; whoever composes the two adapts.
package api
