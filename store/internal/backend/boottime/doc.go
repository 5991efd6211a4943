// Package boottime reads a clock that counts the time during which the machine is suspended, which time.Now does not do. A
// process that was suspended must not take a lease for valid that has ended meanwhile.
package boottime
