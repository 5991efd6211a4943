// Package runnel builds the runnel binary and runs it for tests, as its users do.
//
//	node := runnel.Serve(t, "--config", runnel.WriteConfig(t, "", runnel.ThreeFiles(t)...))
//	out, err := runnel.Run(t, "status", "--server", node.URL)
//
// The binary is built once for each test process, so a package of tests calls [Main] from its TestMain. Processes end with
// the test that started them; when the test fails, their logs and goroutines are part of its output.
//
// The package also holds the helpers that several packages of tests need: waits with a deadline, seeded randomness, and
// the reports of checks.
package runnel
