// Package batch serves batches and transactions, which share the decoding of operations and the encoding of results.
//
// A [Service.Batch] runs windows of operations. An array, and a small body of lines, is read whole; more lines are read
// by a lineReader while earlier lines run, and a sender writes the results meanwhile. Operations of a window run
// together in few statements and commits, unless their order can be observed.
//
// A [Service.Transact] runs conditions and operations in a single commit of one master.
package batch
