// Package transfer imports and exports many entries: NDJSON files, and trees of files.
//
// [Import] reads a source of items and stores them with several requests at a time, small entries together in batches.
// The memory of the entries in flight is bounded. A checkpoint records the position up to which every item is stored,
// so that an interrupted import continues there; an item that failed holds the checkpoint back. Importing the same
// entries again is harmless.
//
// [Export] streams the entries of a list to a file that appears as a whole, and continues an interrupted export behind
// the last whole line. A file beside the unfinished export records the query, and its lock keeps a second export away.
package transfer
