// Package memory keeps a partition in the memory of the process. It is the reference
// implementation of partition.Partition, and serves the tests of many packages: a test
// can inject failures ([Partition.Fail]), plant damage ([Partition.Plant]) and restore old
// contents ([Partition.Backup]).
package memory
