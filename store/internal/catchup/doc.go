// Package catchup makes partitions catch up with single writes at once, beside the sync process.
package catchup
