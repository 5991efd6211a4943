// Package files tests files of any size end to end: real processes over SQLite files, killed and damaged on the way,
// and real tools that speak the protocol of S3.
package files
