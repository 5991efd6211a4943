// Package partitiontest is the conformance suite of partition.Partition: every implementation runs
// its checks of the contract.
//
// An implementation calls [Run] with a function that creates empty databases. Each check creates
// its own databases, so all checks run in parallel. Where the contract speaks of several processes,
// a check opens several handles. Random checks print their seed. The tests of this package run the
// suite on implementations with a planted fault each, which the suite must find.
//
// [Join], [Blind], [GetAll] and similar functions are fixtures for further tests of
// implementations.
package partitiontest
