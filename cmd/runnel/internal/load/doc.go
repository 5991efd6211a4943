// Package load generates load on an HTTP server and measures the responses.
//
// A [Plan] is one kind of request, sent again and again on a fixed number of connections. Each connection is a closed
// loop: it sends its next request when it has the response to the last one. [Run] runs a plan and returns a [Report]
// with throughput and latency quantiles; every response is checked against the plan. [Cases] are the plans of
// 'runnel bench'.
//
// Package load writes requests from templates and reads responses without allocating, so that the load generator
// takes little of the machine that it shares with the server. It does not use net/http.
package load
