// Package test proves Runnel's promises end to end: the real binary, real
// MariaDB and MySQL servers, real input, crashes and outages.
//
// Package servers below it gives any test in the module as many database
// servers as it asks for. The tests here build the runnel binary once and run
// it as its users do. Those that take minutes run in full with RUNNEL_TEST_LONG=1
// (make test-long, make test-faults) and in a shorter form otherwise.
package test
