// Package budget bounds the memory that bodies and values of all requests take together. A request reserves memory by
// its [Hold] before reading a body or a value. While the [Budget] is in use, the request waits, or is refused.
package budget
