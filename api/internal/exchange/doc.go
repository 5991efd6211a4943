// Package exchange holds the parts that all routes of the API share: the [Request] with its key, parameters and session,
// the [Response] with its header and reserved memory, the [Resource] that checks a request before its handler runs, and
// the problem that answers an error.
//
// An exchange begins in [Shared.Begin]. The resource of the path checks method, origin, key and parameters and negotiates
// the format of the answer; then the [Handler] answers, or returns an error, which [Shared.WriteError] answers. All
// errors of the store become problems in problem.go. [Response.End] releases the memory.
//
// The package promises: keys are percent-decoded exactly once and never cleaned; bodies are bounded, and read whole or
// not at all; answers reveal no internals.
//
// The answers of the hot path cost no allocation for a header field: a Response keeps maxValues fields in memory of its
// own and writes most of them directly to the connection.
package exchange
