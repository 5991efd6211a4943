// Package feed serves the changes of the store: a page, a long poll, or an endless stream as lines of JSON or as
// server-sent events.
//
// A stream has no deadline of its own. Single writes have deadlines, heartbeats keep an idle stream alive, and a drained
// server ends the stream; the reader resumes on another node with the last token.
package feed
