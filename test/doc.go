// Package test proves Runnel's promises end to end: with the real binary, real MariaDB and MySQL servers, real input, crashes
// and outages.
//
// The packages below test share the work:
//
//   - runnel builds and runs the binary
//   - servers provides MariaDB and MySQL servers
//   - histories checks answers for consistency while parts of the system fail
//   - bench measures, and house measures the source tree
//
// Tests that take minutes run in full with RUNNEL_TEST_LONG=1 (make test-long, make test-faults) and in a shorter form
// otherwise.
package test
