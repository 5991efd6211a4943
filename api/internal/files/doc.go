// Package files serves files below /v1/files/: whole or in ranges, streamed in both directions with
// bounded memory, listed by directory, and verified.
//
// The name of a file is the path behind /v1/files/, decoded once and never cleaned, under the rules
// of keys. A path that ends in a slash, or is empty, is a directory: GET lists it, and POST stores the
// parts of a form below it. A POST to a name with /copy or /verify behind it acts on the file.
package files
