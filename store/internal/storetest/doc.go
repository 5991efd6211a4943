// Package storetest starts stores on memory partitions for tests.
package storetest
