// Package promotion tests end to end what operators do when a master is lost: the built binary on a real server that stops,
// with clients that write before, meanwhile and afterwards.
package promotion
