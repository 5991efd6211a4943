// Package config turns a TOML file into a [Config], strictly: what it does not understand it refuses, and it names
// every problem of a file at once, each with file, line and key ([Problems]).
//
// A file flows through these steps, none of which stops the next one from finding more:
//
//	source → line index (bounds) → TOML library (syntax) → fields (types, ${ENV}) → password files → rules (ranges, duplicates)
//
// Only a syntax error ends the reading early, because nothing behind it can be trusted. A key that has one problem
// is not judged again by a later step.
//
// The environment is an argument ([Lookup]), never read behind the caller's back. Passwords live in a [Secret], and
// no printed, logged or marshalled form of a Config holds one, nor does any Problem.
//
// [Example] documents every key. [Default] is what runs without a file. [Changes] tells what a re-read file asks for.
package config
