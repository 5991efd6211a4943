// Package cluster owns the cluster map of this process.
//
// A [Map] says which partition is the master of each [Slot], and in which epoch. A [Register] reads the map from the
// cluster rows of the partitions, and nothing else changes the map: the register joins partitions to the cluster, founds
// a cluster where there is none, and begins a new epoch after databases were restored.
//
// The register also looks after the partitions while the store runs: the register keeps them joined, compares the head of each
// master with its replicas to find a master that has lost writes, and proves that idle masters take commits.
package cluster
