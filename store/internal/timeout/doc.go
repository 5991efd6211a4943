// Package timeout bounds the operations of a loop without allocating a context and a timer
// for each of them.
package timeout
