//go:build !race

package runnel

// RaceEnabled reports whether the tests run with the race detector, and so the binary too.
const RaceEnabled = false
