// Package promotion tests end to end how operators replace a lost master: the built binary on a real server that stops,
// with clients that write before, meanwhile and afterwards.
package promotion
