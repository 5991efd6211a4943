//go:build race

package test

const RaceEnabled = true
