// Package verification is the work of 'runnel verify': it compares all partitions, and prints the rows that are wrong.
package verification
