// A test adds step.go and step_amd64.s to cmd/runnel by an overlay of "go build". The resulting binary reads the host's clock
// with the seconds added that the file of RUNNEL_TEST_CLOCK_STEP contains.
package main
