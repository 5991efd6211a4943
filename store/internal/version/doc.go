// Package version describes progress in the histories of all origins: version vectors, and the tokens that carry them
// between a client and any process of a cluster.
package version
