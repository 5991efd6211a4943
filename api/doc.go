// Package api serves Runnel over HTTP, as docs/http.md and openapi.yaml describe.
//
// Each request passes the middleware of [Server] (request id, recovery, metrics, access log) and its route. The route
// checks method, key and parameters and negotiates the format of the answer; then the handler calls one method of the
// [Store] and answers, or returns an error. Errors become answers in problem.go alone, with the statuses of the table
// in internal/problem.
//
// The names of the files tell the themes: server_ (requests in general), keys_, op_ (the operations of batches and
// transactions), batch_, txn, feed_ (changes), session, status_, and pages_ (documents and their HTML). Packages under
// internal hold the parts that know nothing of the store or of a Server.
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
