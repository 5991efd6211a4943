// Package testbed starts the systems that the bench measures: Runnel, its upper limit and its alternatives, each as processes
// of its own with settings that keep every acknowledged write through a power cut.
package testbed
