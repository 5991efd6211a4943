// Command runnel is the whole of Runnel in one binary: the server, the sync process, and a client for both.
//
// A command is one file. newRoot hangs them all under `runnel`; run executes one command line against the streams
// and the environment it is given, so that a test runs exactly what a person does. Client commands reach the server
// only through the HTTP contract, by way of client: it sends each key byte-exact, repeats what is safe to repeat, and
// turns an application/problem+json answer into an error that names it.
//
// Results go to standard output, everything else (progress, summaries, warnings, errors) to standard error. The exit
// status is 0 when all went well, 1 when something failed or was not found, and 2 when the command line or a
// configuration was wrong. docs/cli.md describes every command and is tested against the command tree.
package main
