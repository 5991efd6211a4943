// Package files has the commands of 'runnel file': they store, fetch, list, copy, delete, verify and mirror files of a
// server.
package files
