// Package lease holds the lease of a partition for a process, and names processes as holders.
//
// A lease keeps two processes from doing the same work twice. A lease expires unless renewed, and no promise may depend on a
// lease: a process that was paused may hold a lease, in its own view, that another process has. The fence of a
// [partition.Lease], a number that grows with each change of hands, lets the partition reject the work of the former holder.
package lease
