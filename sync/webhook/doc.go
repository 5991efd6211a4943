// Package webhook posts the changes of a store to HTTP endpoints.
//
// A [Sender] serves every [Endpoint] with a worker of its own. A worker follows the store's
// feed and posts pages of changes in order, each until the endpoint answers 2xx. The
// worker's progress (a change token) and the name of the sending process are an entry of the space
// "sys" in the store. The entry is a lease: of all processes with that endpoint, one sends, and
// only the holder moves the progress. After a crash another process takes over, and
// repeats the last page if its acceptance was not recorded.
//
// A worker that was away for so long that tombstones of its changes were collected sends
// everything anew, marked as a resync.
package webhook
