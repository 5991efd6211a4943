// Package doctor compares a configuration, its files, its databases and a process with the hardening list in
// docs/security.md.
//
// [Run] makes every check of [Checks] and returns at least one [Finding] for each. The checks change nothing: files are not
// opened for writing, no database or table is created, and an SQLite file is not opened at all.
package doctor
