// Package partitiontest is the conformance suite of partition.Partition: what
// the comments of the contract say, as checks that every implementation runs.
//
// An implementation calls Run with a function that makes empty databases. Each
// check makes its own, so all of them run in parallel; where the contract
// speaks of several processes, the check opens several handles. Random checks
// print their seed. The package's own test runs the suite on implementations
// with one planted fault each, and fails if the suite does not.
package partitiontest
