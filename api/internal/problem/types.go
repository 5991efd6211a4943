package problem

// Type is a problem type (RFC 9457). Its page under /problems/ shows the explanation.
type Type struct {
	Slug        string `json:"slug" xml:"slug"`
	Status      int    `json:"status" xml:"status"`
	Title       string `json:"title" xml:"title"`
	Explanation string `json:"explanation" xml:"explanation"`
}

// The problem types: the only table of error statuses.
var (
	InvalidKey = &Type{"invalid-key", 400, "Not a key",
		"A key is 1 to 512 bytes (or fewer, if so configured) of valid UTF-8 without control characters. In a path it is percent-encoded and decoded exactly once; slashes, dots and spaces stand for themselves. Nothing was read or stored."}
	InvalidParameter = &Type{"invalid-parameter", 400, "Not a parameter, or not a value of it",
		"A parameter of the query is unknown here, given twice, or has a value that it cannot have. The member “parameter” names it. Nothing was read or stored."}
	InvalidCursor = &Type{"invalid-cursor", 400, "Not a cursor of this list",
		"“after” takes the cursor that a page of the same list gave as “next”, unchanged. A cursor carries the prefix and the delimiter of its list and does not continue another one. Start again without “after”."}
	InvalidHeader = &Type{"invalid-header", 400, "Not a value of this header",
		"A header has a value that it cannot have, for example an entity tag without quotes. The member “header” names it. Nothing was stored."}
	InvalidJSON = &Type{"invalid-json", 400, "Not the JSON that is asked for",
		"The body of a batch or a transaction, or a line of it, is not JSON of the form that the API asks for: cut short, with a member given twice, with text that is not UTF-8, or of another type. A batch of lines goes on behind such a line; of an array or a transaction nothing was done."}
	InvalidItem = &Type{"invalid-item", 400, "Not an operation",
		"An operation of a batch or a transaction has a member that is unknown, missing, or has a value that it cannot have. The member “parameter” names it. In a batch this operation alone was not done; of a transaction nothing was."}
	IncompleteBody = &Type{"incomplete-body", 400, "The body is not whole",
		"The connection ended, or the encoding of the body broke, before the announced end of the body. Nothing was stored. Send it again."}
	Digest = &Type{"digest-mismatch", 400, "The body is not the one that its digest is of",
		"Content-Digest, Repr-Digest or Content-MD5 states another digest than that of the body which arrived. Nothing was stored. Send the request again."}
	CrossOrigin = &Type{"cross-origin", 403, "A page of another site may not change data here",
		"A browser sent this request on behalf of a page that was not served by this server. Programs are not concerned; a page must be served from the same origin."}
	UnknownHost = &Type{"unknown-host", 421, "This server does not answer for that host",
		"The header Host has a name that this server is not configured with. Use an address, localhost, or a name that http.hosts of its configuration lists. The check keeps pages of other sites, whose names were made to resolve to this server, from reading and writing here."}
	NotFound = &Type{"not-found", 404, "No such key",
		"The partition that answered (header Runnel-Partition) holds no entry of this key. A replica may be behind by as much as the header Runnel-Staleness says; ?consistency=master asks the key’s master."}
	UnknownRoute = &Type{"unknown-route", 404, "No such resource",
		"Nothing is served at this path. /openapi.yaml describes everything that is."}
	Method = &Type{"method-not-allowed", 405, "Not a method of this resource",
		"The header Allow lists the methods that there are."}
	NotAcceptable = &Type{"not-acceptable", 406, "None of the accepted forms is available",
		"The header Accept allows none of the forms in which this can be answered. The member “available” lists them."}
	Timeout = &Type{"request-timeout", 408, "The request took too long to arrive",
		"The body did not arrive in the time that the server allows. Nothing was stored."}
	AnswersUnread = &Type{"answers-unread", 408, "The answers were not read",
		"A stream of operations is answered while it is sent, and the server holds only some MiB of answers. Read while you send, ask for less with Prefer: return=minimal, or send smaller batches. Operations without an answer were not done."}
	LengthRequired = &Type{"length-required", 411, "The request does not say how long its body is",
		"A request with a body has a Content-Length, or is sent in chunks; Content-Length: 0 is the empty value. Without either a body that was lost on the way looks like an empty one. Nothing was stored."}
	Resync = &Type{"resync", 410, "The changes since then are not whole any more",
		"Deletions that this reader has not been told of are collected by now, or a restore from a backup has undone what it was told, so what it holds may be of keys that are gone. Read /v1/changes from the beginning, without since, and drop every key that this does not bring; then go on with the token it ends with."}
	Precondition = &Type{"precondition-failed", 412, "The entry is not as the request requires",
		"If-Match, If-None-Match or If-Unmodified-Since did not hold. For a write that was decided on the master, at the moment of writing, and nothing was stored: read the key again and decide anew."}
	TooLarge = &Type{"too-large", 413, "The value is too large",
		"The value exceeds what the server accepts. The member “max_bytes” says how much that is. Nothing was stored."}
	Encoding = &Type{"unsupported-encoding", 415, "The body’s content coding is not kept",
		"A value is stored as it is sent and given back without a Content-Encoding, so a coded body would be given back wrong. Send it without Content-Encoding."}
	MediaType = &Type{"unsupported-media-type", 415, "The body’s media type is none that is read here",
		"The header Content-Type names a form that this resource does not read. The member “available” lists those that it does."}
	Range = &Type{"range-not-satisfiable", 416, "The value has no such range",
		"No range of the header Range lies within the value. The header Content-Range says how long the value is."}
	DifferentMasters = &Type{"different-masters", 422, "The keys have different masters",
		"Keys are written together only if they have one master. Keys whose names hold the same {tag} do."}
	Internal = &Type{"internal", 500, "Something went wrong inside",
		"The cause is in the server’s log, under the request id that the header X-Request-Id gives."}
	MasterUnavailable = &Type{"master-unavailable", 503, "The key’s master is not available",
		"The master of this key takes no writes now (for a read: does not answer, and only it was asked). Nothing was stored. The request can be repeated as it is; Retry-After suggests when. Reads with consistency=any go on."}
	OutcomeUnknown = &Type{"outcome-unknown", 503, "It is not known whether the write was stored",
		"The connection to the master broke in the middle of the commit: the write was stored wholly or not at all. Read the key with consistency=master to find out, or repeat the write if that does no harm."}
	NoPartition = &Type{"no-partition", 503, "No partition can answer",
		"No partition that may answer this request is reachable and filled now. The request can be repeated; Retry-After suggests when."}
	Session = &Type{"session-unavailable", 503, "Nobody who answers has seen as much as the session",
		"The header Runnel-Session says what this client has written and read. No partition that answers now is as far, and the key’s master, which is, does not answer. (Or a master was replaced by an older state of itself.) The request can be repeated; Retry-After suggests when. Without the header older data can be read."}
	SessionLost = &Type{"session-lost", 410, "The session says nothing here any more",
		"The header Runnel-Session is of another cluster, or its client has seen writes that a restore from a backup has undone. Drop it: a request without the header begins a new session, with the answer’s. Nothing was read or written."}
	TooStale = &Type{"too-stale", 503, "Nobody who answers is as fresh as was asked for",
		"No partition that answers now is proven to be at most max_staleness behind, and the key’s master, which never is, does not answer. The request can be repeated; Retry-After suggests when. With a larger max_staleness older data can be read."}
	TooFewPartitions = &Type{"too-few-partitions", 503, "Fewer partitions answered than were asked for",
		"A read with consistency=quorum asks r partitions that have once been filled, others in place of those that fail, and fewer than r have answered. The request can be repeated, or asked of fewer; Retry-After suggests when."}
	Overloaded = &Type{"overloaded", 503, "The memory for requests is in use",
		"Bodies and values of all requests together may take only so much memory, http.request_memory of the configuration. Nothing was stored. The request can be repeated; Retry-After suggests when. Small requests are not refused for this."}
	TimedOut = &Type{"timed-out", 503, "It took too long",
		"The server gave the request up before it was done. A write that was under way may have been stored."}
	ShuttingDown = &Type{"shutting-down", 503, "The server is shutting down",
		"The server ends what it accepted and takes nothing new. Nothing was stored. Ask another node, or this one in a moment."}
	SyncElsewhere = &Type{"sync-elsewhere", 503, "The sync process does not run here",
		"This server was started without the sync process. It runs in another process, or from a crontab; start a pass there with runnel sync --once."}
	Unhealthy = &Type{"unhealthy", 503, "The server makes no progress",
		"The sync process of this server has made no pass for more than a minute after one was due. See /v1/status and the log."}
	NotReady = &Type{"not-ready", 503, "The server cannot serve yet",
		"No partition can be read (with ?write: no master can be written) through this server. See /v1/status."}
)

// Types lists all problem types in the order of the index page.
var Types = []*Type{
	InvalidKey, InvalidParameter, InvalidCursor, InvalidHeader, InvalidJSON, InvalidItem, IncompleteBody, Digest, CrossOrigin, UnknownHost,
	NotFound, UnknownRoute, Method, NotAcceptable, Timeout, AnswersUnread, LengthRequired, Resync, Precondition, TooLarge,
	Encoding, MediaType, Range, DifferentMasters, Internal, MasterUnavailable, OutcomeUnknown,
	NoPartition, Session, SessionLost, TooStale, TooFewPartitions, Overloaded, TimedOut, ShuttingDown, SyncElsewhere, Unhealthy, NotReady,
}
