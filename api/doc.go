// Package api serves Runnel over HTTP, as docs/http.md and openapi.yaml describe.
//
// Each request passes the middleware of [Server] (request id, recovery, metrics, access log) and its route. The route
// checks method, key and parameters and negotiates the format of the answer; then the handler calls one method of the
// [Store] and answers, or returns an error.
//
// Package api composes the server: options, middleware, the table of routes, metrics, and the pages about the server
// itself. The packages below internal hold the rest:
//
//   - exchange: the request, the response, the route, sessions, and the problems that answer errors.
//   - keys, batch, feed and status: the handlers, a package for each theme.
//   - console: the pages for people, which use the routes.
//   - write, document and pages: a decoded write, the documents of entries, and their HTML.
//   - problem, negotiate, etag, cursor, ranges, digest, budget, cors and transport: parts that know nothing of a route.
//
// The package promises: keys are percent-decoded exactly once and never cleaned; bodies are bounded, and stored whole
// or not at all; everything on a page is escaped; answers reveal no internals, which are logged under the X-Request-Id
// of the answer.
//
// GET and PUT of plain values are the hot path: no JSON, no parsing of an Accept header without a preference, no
// canonicalising of header names, and few allocations (TestAnswersStayLean).
//
// The package sees the sync process only through [Syncer], which the command adapts.
package api
