// Package failover decides whether a master is lost, from the observations of a process: when the process reached the master
// last, and which numbers of reports the voters show. The package reads no clock and no database; every moment comes from its caller, by a clock
// that counts suspended time and that nobody can set.
package failover
