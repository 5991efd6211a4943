// Command runnel is Runnel in one binary: the server, the sync process, and a client for both.
//
// Each file holds a command. newRoot builds the command tree; program.execute runs a command line on given streams and
// a given environment, so that tests run exactly the code that users run. Client commands use api/client only. The
// packages below internal hold the larger parts: node composes a server process from a configuration, transfer imports
// and exports, archive backs up and restores, session keeps sessions between commands, load measures a server, and
// console has the streams, exit statuses and files that all commands share.
//
// Results go to standard output; progress, summaries, warnings and errors go to standard error. The exit status is 0
// for success, 1 for a failure or a missing key, and 2 for a wrong command line or configuration. docs/cli.md describes
// every command and is tested against the command tree.
package main
