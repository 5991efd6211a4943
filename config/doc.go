// Package config parses a TOML file into a [Config]. Parsing is strict: unknown keys and values are errors. All
// problems of a file are reported at once, each with file, line and key ([Problems]).
//
// A file passes these steps, and each step reports all problems that it finds:
//
//	source → line index (bounds) → TOML library (syntax) → fields (types, ${ENV}) → files of passwords and certificates → rules (ranges, duplicates)
//
// Only a syntax error ends parsing early, because the rest of the file has no certain meaning. A later step does not
// check a key again that has a problem.
//
// The environment is an argument ([Lookup]); the package never reads environment variables itself. Passwords live in
// a [Secret]. No printed, logged or marshalled form of a Config, and no Problem, shows a password.
//
// [Example] documents every key. [Default] is the configuration without a file. [Changes] compares a re-read file
// with a running configuration.
package config
