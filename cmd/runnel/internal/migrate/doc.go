// Package migrate is the work of 'runnel migrate': it describes, migrates and finishes the tables of partitions,
// partition by partition.
//
// [Plan] changes nothing. [Run] runs the missing steps; binaries of the version before continue during the steps and
// afterwards. [Finish] shuts out binaries older than this one, on all partitions or on none. Each may be killed and
// repeated.
package migrate
