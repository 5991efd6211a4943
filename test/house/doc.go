// Command house measures the source tree: its language, its files and its functions.
//
//	make house
//
// Its tests are the rules for these measures: comments and documents name their nouns, method names say their object, folders
// and functions stay small, and a file that a comment names is in the tree. Each rule has a test with a planted fault, which
// shows that the rule can fail.
package main
