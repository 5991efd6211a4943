// Package hardening attacks the runnel binary: clients that hold connections without using them, text that would control a
// terminal or forge a log line, and a search for secrets in everything that the binary writes.
//
// The attacks are bounded in number and time, and stay on the loopback address. RUNNEL_TEST_LONG=1 makes them longer.
package hardening
