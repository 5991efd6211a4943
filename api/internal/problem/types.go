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
	InvalidKey = &Type{"invalid-key", 400, "Invalid key",
		"A key is 1 to 512 bytes (or fewer, if so configured) of valid UTF-8 without control characters. In a path it is percent-encoded and decoded exactly once; slashes, dots and spaces stand for themselves. Nothing was read or stored."}
	InvalidParameter = &Type{"invalid-parameter", 400, "Invalid parameter",
		"A parameter of the query is unknown here, given twice, or has an invalid value. The member “parameter” names it. Nothing was read or stored."}
	InvalidCursor = &Type{"invalid-cursor", 400, "Invalid cursor",
		"“after” takes the cursor that a page of the same list gave as “next”, unchanged. A cursor contains the prefix and the delimiter of its list and does not continue another list. Start again without “after”."}
	InvalidHeader = &Type{"invalid-header", 400, "Invalid header",
		"A header has an invalid value, for example an entity tag without quotes. The member “header” names it. Nothing was stored."}
	InvalidJSON = &Type{"invalid-json", 400, "Invalid JSON",
		"The body of a batch, a transaction or a move, or a line of it, is not JSON of the form that the API expects: cut short, with a member given twice, with text that is not UTF-8, or of another type. A batch of lines continues after such a line; of an array, a transaction or a move nothing was done."}
	InvalidItem = &Type{"invalid-item", 400, "Invalid operation",
		"An operation of a batch or a transaction, or a request to move slots, has a member that is unknown, missing or invalid. The member “parameter” names it. In a batch only this operation was not done; of a transaction or a move nothing was done."}
	IncompleteBody = &Type{"incomplete-body", 400, "Incomplete body",
		"The connection ended, or the encoding of the body broke, before the announced end of the body. Nothing was stored. Send the request again."}
	Digest = &Type{"digest-mismatch", 400, "The body does not match its digest",
		"Content-Digest, Repr-Digest or Content-MD5 states another digest than that of the body which arrived. Nothing was stored. Send the request again."}
	Unauthenticated = &Type{"unauthenticated", 401, "A valid API key is needed",
		"The request has no API key, or its key is unknown, revoked or expired. Send a key as Authorization: Bearer rnl_…; an operator creates keys with runnel key create. Nothing was read or stored. A stream that ends with this problem ends because its key was revoked or has expired."}
	Forbidden = &Type{"forbidden", 403, "The key does not allow this",
		"The grants of the API key, or of requests without a key, do not allow this request. The answer is the same whether the entry exists or not. A list, a deletion by prefix or a feed needs the right to every key with its prefix. Nothing was read or stored."}
	CrossOrigin = &Type{"cross-origin", 403, "Pages of other sites may not change data here",
		"A browser sent this request on behalf of a page that this server did not serve. Programs are not affected. A page must come from the same origin, or from an origin that http.cors_origins of the configuration lists and with an API key in Authorization."}
	HTTPSRequired = &Type{"https-required", 403, "Signing in needs HTTPS",
		"A browser signs in, and uses its sign-in cookie, over HTTPS only: to this server, or to a proxy that http.trusted_proxies of its configuration lists and that sends X-Forwarded-Proto: https. Programs send a key as Authorization: Bearer rnl_…. Nothing was read or stored."}
	UnknownHost = &Type{"unknown-host", 421, "Unknown host",
		"The header Host has a name that this server is not configured with. Use an address, localhost, or a name that http.hosts of its configuration lists. The check keeps pages of other sites, whose names were made to resolve to this server, from reading and writing here."}
	NotFound = &Type{"not-found", 404, "No such key",
		"The partition that answered (header Runnel-Partition) holds no entry of this key. A replica may be behind by as much as the header Runnel-Staleness says; ?consistency=master asks the key’s master."}
	UnknownRoute = &Type{"unknown-route", 404, "No such resource",
		"Nothing is served at this path. /openapi.yaml describes everything that is."}
	Method = &Type{"method-not-allowed", 405, "Method not allowed",
		"The header Allow lists the methods of this resource."}
	NotAcceptable = &Type{"not-acceptable", 406, "No accepted format is available",
		"The header Accept allows none of the available formats. The member “available” lists them."}
	Timeout = &Type{"request-timeout", 408, "The request took too long to arrive",
		"The body did not arrive in the time that the server allows. Nothing was stored."}
	AnswersUnread = &Type{"answers-unread", 408, "The answers were not read",
		"A stream of operations is answered while it is sent, and the server queues only some MiB of answers. Read while you send, ask for less with Prefer: return=minimal, or send smaller batches. Operations without an answer were not done."}
	MoveRefused = &Type{"move-refused", 409, "The move cannot begin",
		"The slots cannot move from this master to this partition now; the detail says why and what to do. GET /v1/status shows the masters and the move under way. The moves that the detail counts were made; nothing else was changed."}
	PromotionRefused = &Type{"promotion-refused", 409, "The promotion cannot be made",
		"The partition cannot take the place of this master now; the detail says why and what to do. Nothing was changed. GET /v1/status shows the masters and the state of the partitions."}
	LengthRequired = &Type{"length-required", 411, "The request does not state the length of its body",
		"A request with a body has a Content-Length, or is sent in chunks; Content-Length: 0 is the empty value. Without either, a body that was lost on the way would look like an empty body. Nothing was stored."}
	Resync = &Type{"resync", 410, "Changes after this token are lost",
		"Deletions that this reader has not seen have been collected, or a restore from a backup has undone changes that it has seen, so it may hold keys that are gone. Read /v1/changes from the beginning, without since, and drop every key that is not among the changes; then continue with the token at the end."}
	Precondition = &Type{"precondition-failed", 412, "Precondition failed",
		"If-Match, If-None-Match or If-Unmodified-Since did not hold. For a write the master decided this at the moment of writing, and nothing was stored: read the key again and decide anew."}
	StaleFence = &Type{"stale-fence", 412, "The fence is stale",
		"The lock is not held with this fence: it has expired, was released or forced, or has another holder. Nothing was stored or changed. Acquire the lock again before you write."}
	LockHeld = &Type{"lock-held", 423, "The lock is held",
		"Another owner holds the lock, or comes first among those that wait. For a write, the lock protects the key, and the header Runnel-Fence does not name its fence. Nothing was stored. The members “owner”, “expires_at” and “info” describe the holder; Retry-After says when the lock expires unless it is renewed. For a state of Terraform or OpenTofu, “ID”, “Operation”, “Info”, “Who”, “Version”, “Created” and “Path” take the place of “info”, and tofu force-unlock takes the ID."}
	LockQueue = &Type{"lock-queue-full", 429, "Too many clients wait for the lock",
		"At most 1,000 clients wait for a lock at the same time. Nothing was changed. Retry-After says when to send the next request."}
	NoLock = &Type{"no-such-lock", 404, "Nobody holds the lock",
		"There is no lock of this name that is held. Nothing was changed."}
	Protection = &Type{"protection-unavailable", 409, "No lock can protect a key yet",
		"A lock protects a key only when every process that writes knows of locks. The detail says what an operator must do. Nothing was changed. Locks without “protects” work, and so does the header Runnel-Fence."}
	NoState = &Type{"no-such-state", 404, "No such state",
		"No state of Terraform or OpenTofu stands under this name, or the version is not kept any more. Nothing was changed. The tools begin with an empty state then."}
	StateConflict = &Type{"state-conflict", 409, "The state cannot follow the state that stands",
		"A state that is sent has the lineage of the state that stands, and a higher serial; the member “reason” says what differs. Another program has stored a state meanwhile, or the state belongs to another configuration. Nothing was stored. Read the state again, or send it with force=true, which takes any lineage and serial."}
	TooLarge = &Type{"too-large", 413, "Too large",
		"The value or body is larger than the server accepts. The member “max_bytes” gives the limit in bytes. Nothing was stored."}
	Encoding = &Type{"unsupported-encoding", 415, "Unsupported content coding",
		"A value is stored as it is sent and answered without a Content-Encoding, so an encoded body would come back wrong. Send it without Content-Encoding."}
	MediaType = &Type{"unsupported-media-type", 415, "Unsupported media type",
		"The header Content-Type names a format that this resource does not read. The member “available” lists those that it reads."}
	Range = &Type{"range-not-satisfiable", 416, "Range not satisfiable",
		"No range of the header Range lies within the value. The header Content-Range gives the length of the value."}
	DifferentMasters = &Type{"different-masters", 422, "The keys have different masters",
		"Keys are written together only if they have the same master. Keys whose names contain the same {tag} do."}
	TooManyRequests = &Type{"too-many-requests", 429, "Too many requests",
		"This client sends more requests, or has more streams open, than the configuration of the server allows (section limits), or has sent too many false API keys. Nothing was stored. Retry-After says when to send the next request."}
	UnknownAccount = &Type{"unknown-account", 404, "No such account",
		"There is no account of this id. A transfer records nothing then, and its id stays free."}
	UnknownTransfer = &Type{"unknown-transfer", 404, "No such transfer",
		"The account of the path has no transfer of this id. The record of a transfer lies at its payer, and that of a deposit at its payee."}
	IDConflict = &Type{"id-conflict", 409, "The id is taken",
		"An account or a transfer of this id exists already, with other content; the same request again would be answered 200. Nothing was stored."}
	InsufficientFunds = &Type{"insufficient-funds", 409, "The account cannot pay this",
		"The payer has less money available than the transfer needs; the member “funds” has both amounts. No money has moved. The transfer is kept as FAILED, and its id stays taken: try again with a new id."}
	TransferFailed = &Type{"transfer-failed", 409, "The transfer has failed",
		"An account of the transfer is frozen, closed or (after a promotion) unknown, or its balance would overflow; the member “reason” says which. No money has moved, or all of it has come back. The transfer is kept as FAILED, and its id stays taken."}
	WrongState = &Type{"wrong-state", 409, "Not in this state",
		"An account that is closed does not change, and one with money or unfinished transfers does not close; a hold is posted or voided once; a transfer is reversed once, after it is POSTED. The member “reason” has the present state. Nothing was stored."}
	InvalidTransfer = &Type{"invalid-transfer", 422, "Invalid account or transfer",
		"A member of the account or transfer is missing or has an invalid value; the member “parameter” names it. Amounts are whole numbers of minor units from 1 to 9223372036854775807, as JSON numbers without fraction and exponent, or as strings. Nothing was stored, and the id stays free."}
	CurrencyMismatch = &Type{"currency-mismatch", 422, "Different currencies",
		"The accounts of a transfer have one currency, and the member “currency” of the transfer, if there is one, is the same. Nothing was stored."}
	BalanceOverflow = &Type{"balance-overflow", 422, "The balance would overflow",
		"A balance is at most 9223372036854775807 minor units. Nothing was stored."}
	Internal = &Type{"internal", 500, "Internal error",
		"The cause is in the server’s log, under the request id that the header X-Request-Id gives."}
	MasterUnavailable = &Type{"master-unavailable", 503, "The key’s master is unavailable",
		"The master of this key takes no writes now (for a read: it does not answer, and only the master was asked). Nothing was stored. The request can be repeated unchanged; Retry-After suggests when. Reads with consistency=any still work."}
	InsufficientStorage = &Type{"insufficient-storage", 507, "The key’s master has no room left",
		"The disk of the key’s master is full, or has less free space than store.min_free_disk of the configuration demands. Nothing was stored. Reads still work, and writes again once an operator has made room."}
	QuotaExceeded = &Type{"quota-exceeded", 507, "The quota of a prefix is used up",
		"The names that begin with the prefix of the member “quota” may have only so many keys, or bytes in their values, and the write would exceed the limit. Nothing was stored. Deletions, and values that are no larger than the stored ones, are always accepted."}
	OutcomeUnknown = &Type{"outcome-unknown", 503, "It is unknown whether the write was stored",
		"The connection to the master broke during the commit: the write was stored completely or not at all. Read the key with consistency=master to find out, or repeat the write if that does no harm. A lock has this answer too when its master has granted or renewed it and a majority of the voters did not confirm that in time: it may be held until its time is over. Repeat the request with the same owner and request_id."}
	NoPartition = &Type{"no-partition", 503, "No partition can answer",
		"No partition that may answer this request is reachable and filled now. The request can be repeated; Retry-After suggests when."}
	Session = &Type{"session-unavailable", 503, "No available partition has reached the session",
		"The header Runnel-Session says what this client has written and read. No available partition has reached this state, and the key’s master, which has, does not answer. (Or a master was replaced by an older state of itself.) The request can be repeated; Retry-After suggests when. Without the header older data can be read."}
	SessionLost = &Type{"session-lost", 410, "The session is no longer valid",
		"The header Runnel-Session belongs to another cluster, or its client has seen writes that a restore from a backup has undone. Drop it: a request without the header begins a new session, with the session of the answer. Nothing was read or written."}
	TooStale = &Type{"too-stale", 503, "No available partition is fresh enough",
		"No available partition is proven to be at most max_staleness behind, and the key’s master, which never is behind, does not answer. The request can be repeated; Retry-After suggests when. With a larger max_staleness older data can be read."}
	TooFewPartitions = &Type{"too-few-partitions", 503, "Too few partitions answered",
		"A read with consistency=quorum asks r partitions that have once been filled, and others in place of those that fail; fewer than r have answered. The request can be repeated, or repeated with a smaller r; Retry-After suggests when."}
	NoWholeCopy = &Type{"no-whole-copy", 503, "A part of the file cannot be read",
		"No partition that answers has an undamaged copy of the first part of the file that was asked for. (An answer that has begun breaks off instead.) The request can be repeated once more partitions answer; POST /v1/files/{path}/verify tells which parts are lost."}
	TooFewCopies = &Type{"too-few-copies", 503, "Too few partitions can store the file",
		"Fewer partitions than the copies that were asked for, or that the configuration demands, can store a part of the file now. Nothing was published: the former file is unchanged. The request can be repeated; Retry-After suggests when."}
	MoveAborted = &Type{"move-aborted", 503, "The move was aborted",
		"The new master could not be brought level within ten seconds, so the old master takes writes again. No write was lost. The request can be repeated, best once GET /v1/status shows both partitions as ready."}
	MoveUnfinished = &Type{"move-unfinished", 503, "It is unknown whether the move has begun",
		"Too few voters answered, or the time of the request is over. The move has not begun, or the servers complete or abort it by themselves once the partitions answer. No write is lost. See GET /v1/status before you repeat the request."}
	PromotionUnfinished = &Type{"promotion-unfinished", 503, "The promotion has not ended",
		"Too few voters answered, or the time of the request is over. The promotion has not begun, or the servers complete it by themselves once the partitions answer. See GET /v1/status before you repeat the request."}
	Overloaded = &Type{"overloaded", 503, "The memory for requests is in use",
		"Bodies and values of all requests together may take only so much memory, http.request_memory of the configuration. Nothing was stored. The request can be repeated; Retry-After suggests when. Small requests are never refused for this reason."}
	TimedOut = &Type{"timed-out", 503, "The server gave up the request",
		"The request took too long. A write that was in progress may have been stored."}
	ShuttingDown = &Type{"shutting-down", 503, "The server is shutting down",
		"The server finishes what it has accepted and accepts nothing new. Nothing was stored. Ask another node, or this one in a moment."}
	SyncElsewhere = &Type{"sync-elsewhere", 503, "The sync process does not run here",
		"This server was started without the sync process, which runs in another process or from a crontab; start a pass there with runnel sync --once."}
	Unhealthy = &Type{"unhealthy", 503, "The server makes no progress",
		"The sync process of this server has made no pass for more than a minute after a pass was due. See /v1/status and the log."}
	AuditUnavailable = &Type{"audit-unavailable", 503, "The audit log cannot be written",
		"The configuration of the server (audit.required) demands a line of the audit log for each act, and no line can be written now. Nothing was stored. The request can be repeated; Retry-After suggests when."}
	LedgerHalted = &Type{"ledger-halted", 503, "The ledger is halted",
		"A verification has found that the books do not add up, so no account changes until an operator has looked at them and lifted the halt with POST /v1/ledger/verify?accept=true. Nothing was stored. Reads still work."}
	NotLevel = &Type{"not-level", 503, "The partition is not level",
		"The partition has not copied everything yet, so its books cannot be added up as of one moment. Repeat the request a little later."}
	NotReady = &Type{"not-ready", 503, "The server cannot serve yet",
		"No partition can be read (with ?write: no master can be written) through this server, or the API keys could not be read yet. See /v1/status."}
)

// Types lists all problem types in the order of the index page.
var Types = []*Type{
	InvalidKey, InvalidParameter, InvalidCursor, InvalidHeader, InvalidJSON, InvalidItem, IncompleteBody, Digest, Unauthenticated, Forbidden, CrossOrigin, HTTPSRequired, UnknownHost,
	NotFound, UnknownRoute, Method, NotAcceptable, Timeout, AnswersUnread, MoveRefused, PromotionRefused, LengthRequired, Resync, Precondition, StaleFence, LockHeld, LockQueue, NoLock, Protection, NoState, StateConflict, TooLarge,
	Encoding, MediaType, Range, DifferentMasters,
	UnknownAccount, UnknownTransfer, IDConflict, InsufficientFunds, TransferFailed, WrongState, InvalidTransfer, CurrencyMismatch, BalanceOverflow, LedgerHalted, NotLevel,
	TooManyRequests, Internal, MasterUnavailable, InsufficientStorage, QuotaExceeded, OutcomeUnknown,
	NoPartition, Session, SessionLost, TooStale, TooFewPartitions, MoveAborted, MoveUnfinished, PromotionUnfinished, Overloaded, TimedOut, ShuttingDown, SyncElsewhere, Unhealthy, AuditUnavailable, NotReady,
}
