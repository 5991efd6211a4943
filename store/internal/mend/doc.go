// Package mend repairs entries that a read has found damaged, from a right copy of another partition.
package mend
