// Package budget bounds the memory that bodies and values of all requests take together. A request reserves memory by
// its [Hold] before it reads a body or a value, and waits, or is refused, while the [Budget] is in use.
package budget
