package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/partition"
)

// kind is one class of problem: what RFC 9457 calls its type, with the page
// that explains it.
type kind struct {
	slug        string
	status      int
	title       string
	explanation string
}

// The kinds of problem: the one table of error statuses.
var (
	kindInvalidKey = &kind{"invalid-key", 400, "Not a key",
		"A key is 1 to 512 bytes (or fewer, if so configured) of valid UTF-8 without control characters. In a path it is percent-encoded and decoded exactly once; slashes, dots and spaces stand for themselves. Nothing was read or stored."}
	kindInvalidParameter = &kind{"invalid-parameter", 400, "Not a parameter, or not a value of it",
		"A parameter of the query is unknown here, given twice, or has a value that it cannot have. The member “parameter” names it. Nothing was read or stored."}
	kindInvalidCursor = &kind{"invalid-cursor", 400, "Not a cursor of this list",
		"“after” takes the cursor that a page of the same list gave as “next”, unchanged. A cursor carries the prefix and the delimiter of its list and does not continue another one. Start again without “after”."}
	kindInvalidHeader = &kind{"invalid-header", 400, "Not a value of this header",
		"A header has a value that it cannot have, for example an entity tag without quotes. The member “header” names it. Nothing was stored."}
	kindInvalidJSON = &kind{"invalid-json", 400, "Not the JSON that is asked for",
		"The body of a batch or a transaction, or a line of it, is not JSON of the form that the API asks for: cut short, with a member given twice, with text that is not UTF-8, or of another type. A batch of lines goes on behind such a line; of an array or a transaction nothing was done."}
	kindInvalidItem = &kind{"invalid-item", 400, "Not an operation",
		"An operation of a batch or a transaction has a member that is unknown, missing, or has a value that it cannot have. The member “parameter” names it. In a batch this operation alone was not done; of a transaction nothing was."}
	kindIncompleteBody = &kind{"incomplete-body", 400, "The body is not whole",
		"The connection ended, or the encoding of the body broke, before the announced end of the body. Nothing was stored. Send it again."}
	kindDigest = &kind{"digest-mismatch", 400, "The body is not the one that its digest is of",
		"Content-Digest, Repr-Digest or Content-MD5 states another digest than that of the body which arrived. Nothing was stored. Send the request again."}
	kindCrossOrigin = &kind{"cross-origin", 403, "A page of another site may not change data here",
		"A browser sent this request on behalf of a page that was not served by this server. Programs are not concerned; a page must be served from the same origin."}
	kindUnknownHost = &kind{"unknown-host", 421, "This server does not answer for that host",
		"The header Host has a name that this server is not configured with. Use an address, localhost, or a name that http.hosts of its configuration lists. The check keeps pages of other sites, whose names were made to resolve to this server, from reading and writing here."}
	kindNotFound = &kind{"not-found", 404, "No such key",
		"The partition that answered (header Runnel-Partition) holds no entry of this key. A replica may be behind by as much as the header Runnel-Staleness says; ?consistency=master asks the key’s master."}
	kindUnknownRoute = &kind{"unknown-route", 404, "No such resource",
		"Nothing is served at this path. /openapi.yaml describes everything that is."}
	kindMethod = &kind{"method-not-allowed", 405, "Not a method of this resource",
		"The header Allow lists the methods that there are."}
	kindNotAcceptable = &kind{"not-acceptable", 406, "None of the accepted forms is available",
		"The header Accept allows none of the forms in which this can be answered. The member “available” lists them."}
	kindTimeout = &kind{"request-timeout", 408, "The request took too long to arrive",
		"The body did not arrive in the time that the server allows. Nothing was stored."}
	kindAnswersUnread = &kind{"answers-unread", 408, "The answers were not read",
		"A stream of operations is answered while it is sent, and the server holds only some MiB of answers. Read while you send, ask for less with Prefer: return=minimal, or send smaller batches. Operations without an answer were not done."}
	kindLengthRequired = &kind{"length-required", 411, "The request does not say how long its body is",
		"A request with a body has a Content-Length, or is sent in chunks; Content-Length: 0 is the empty value. Without either a body that was lost on the way looks like an empty one. Nothing was stored."}
	kindResync = &kind{"resync", 410, "The changes since then are not whole any more",
		"Deletions that this reader has not been told of are collected by now, or a restore from a backup has undone what it was told, so what it holds may be of keys that are gone. Read /v1/changes from the beginning, without since, and drop every key that this does not bring; then go on with the token it ends with."}
	kindPrecondition = &kind{"precondition-failed", 412, "The entry is not as the request requires",
		"If-Match, If-None-Match or If-Unmodified-Since did not hold. For a write that was decided on the master, at the moment of writing, and nothing was stored: read the key again and decide anew."}
	kindTooLarge = &kind{"too-large", 413, "The value is too large",
		"The value exceeds what the server accepts. The member “max_bytes” says how much that is. Nothing was stored."}
	kindEncoding = &kind{"unsupported-encoding", 415, "The body’s content coding is not kept",
		"A value is stored as it is sent and given back without a Content-Encoding, so a coded body would be given back wrong. Send it without Content-Encoding."}
	kindMediaType = &kind{"unsupported-media-type", 415, "The body’s media type is none that is read here",
		"The header Content-Type names a form that this resource does not read. The member “available” lists those that it does."}
	kindRange = &kind{"range-not-satisfiable", 416, "The value has no such range",
		"No range of the header Range lies within the value. The header Content-Range says how long the value is."}
	kindDifferentMasters = &kind{"different-masters", 422, "The keys have different masters",
		"Keys are written together only if they have one master. Keys whose names hold the same {tag} do."}
	kindInternal = &kind{"internal", 500, "Something went wrong inside",
		"The cause is in the server’s log, under the request id that the header X-Request-Id gives."}
	kindMasterUnavailable = &kind{"master-unavailable", 503, "The key’s master is not available",
		"The master of this key takes no writes now (for a read: does not answer, and only it was asked). Nothing was stored. The request can be repeated as it is; Retry-After suggests when. Reads with consistency=any go on."}
	kindOutcomeUnknown = &kind{"outcome-unknown", 503, "It is not known whether the write was stored",
		"The connection to the master broke in the middle of the commit: the write was stored wholly or not at all. Read the key with consistency=master to find out, or repeat the write if that does no harm."}
	kindNoPartition = &kind{"no-partition", 503, "No partition can answer",
		"No partition that may answer this request is reachable and filled now. The request can be repeated; Retry-After suggests when."}
	kindSession = &kind{"session-unavailable", 503, "Nobody who answers has seen as much as the session",
		"The header Runnel-Session says what this client has written and read. No partition that answers now is as far, and the key’s master, which is, does not answer. (Or a master was replaced by an older state of itself.) The request can be repeated; Retry-After suggests when. Without the header older data can be read."}
	kindSessionLost = &kind{"session-lost", 410, "The session says nothing here any more",
		"The header Runnel-Session is of another cluster, or its client has seen writes that a restore from a backup has undone. Drop it: a request without the header begins a new session, with the answer’s. Nothing was read or written."}
	kindTooStale = &kind{"too-stale", 503, "Nobody who answers is as fresh as was asked for",
		"No partition that answers now is proven to be at most max_staleness behind, and the key’s master, which never is, does not answer. The request can be repeated; Retry-After suggests when. With a larger max_staleness older data can be read."}
	kindTooFewPartitions = &kind{"too-few-partitions", 503, "Fewer partitions answered than were asked for",
		"A read with consistency=quorum asks r partitions that have once been filled, others in place of those that fail, and fewer than r have answered. The request can be repeated, or asked of fewer; Retry-After suggests when."}
	kindOverloaded = &kind{"overloaded", 503, "The memory for requests is in use",
		"Bodies and values of all requests together may take only so much memory, http.request_memory of the configuration. Nothing was stored. The request can be repeated; Retry-After suggests when. Small requests are not refused for this."}
	kindTimedOut = &kind{"timed-out", 503, "It took too long",
		"The server gave the request up before it was done. A write that was under way may have been stored."}
	kindShuttingDown = &kind{"shutting-down", 503, "The server is shutting down",
		"The server ends what it accepted and takes nothing new. Nothing was stored. Ask another node, or this one in a moment."}
	kindSyncElsewhere = &kind{"sync-elsewhere", 503, "The sync process does not run here",
		"This server was started without the sync process. It runs in another process, or from a crontab; start a pass there with runnel sync --once."}
	kindUnhealthy = &kind{"unhealthy", 503, "The server makes no progress",
		"The sync process of this server has made no pass for more than a minute after one was due. See /v1/status and the log."}
	kindNotReady = &kind{"not-ready", 503, "The server cannot serve yet",
		"No partition can be read (with ?write: no master can be written) through this server. See /v1/status."}
)

// kinds lists every kind, in the order of the index page.
var kinds = []*kind{
	kindInvalidKey, kindInvalidParameter, kindInvalidCursor, kindInvalidHeader, kindInvalidJSON, kindInvalidItem, kindIncompleteBody, kindDigest, kindCrossOrigin, kindUnknownHost,
	kindNotFound, kindUnknownRoute, kindMethod, kindNotAcceptable, kindTimeout, kindAnswersUnread, kindLengthRequired, kindResync, kindPrecondition, kindTooLarge,
	kindEncoding, kindMediaType, kindRange, kindDifferentMasters, kindInternal, kindMasterUnavailable, kindOutcomeUnknown,
	kindNoPartition, kindSession, kindSessionLost, kindTooStale, kindTooFewPartitions, kindOverloaded, kindTimedOut, kindShuttingDown, kindSyncElsewhere, kindUnhealthy, kindNotReady,
}

// statusClientGone is logged, never sent: nobody is there to read it.
const statusClientGone = 499

// refusal is an error that says itself how it is answered.
type refusal struct {
	kind    *kind
	detail  string
	members wire.ProblemMembers
	retry   time.Duration // 0: no Retry-After, unless the status calls for one
}

func (e *refusal) Error() string { return e.kind.slug + ": " + e.detail }

// refuse makes a refusal with a detail for whoever sent the request.
func refuse(k *kind, format string, args ...any) *refusal {
	return &refusal{kind: k, detail: fmt.Sprintf(format, args...)}
}

// refuseParameter refuses a parameter of the query.
func refuseParameter(name, format string, args ...any) *refusal {
	e := refuse(kindInvalidParameter, format, args...)
	e.members.Parameter = name
	return e
}

// refuseHeader refuses a header's value.
func refuseHeader(name, format string, args ...any) *refusal {
	e := refuse(kindInvalidHeader, format, args...)
	e.members.Header = name
	return e
}

func refuseTooLarge(limit int64) *refusal {
	e := refuse(kindTooLarge, "The value is larger than %d bytes.", limit)
	e.members.MaxBytes = limit
	return e
}

// defaultRetry is what Retry-After says when nothing better is known.
const defaultRetry = time.Second

// refusalOf maps every error of the store to its kind.
func refusalOf(err error) *refusal {
	if item, ok := errors.AsType[*wire.Error](err); ok {
		return refusalOfItem(item)
	}
	var (
		own      *refusal
		key      *store.KeyError
		tooLarge *store.TooLargeError
		master   *store.MasterError
	)
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &key):
		return refuse(kindInvalidKey, "The key %s.", key.Reason)
	case errors.As(err, &tooLarge):
		return refuseTooLarge(tooLarge.Limit)
	case errors.Is(err, partition.ErrTooLarge):
		return refuse(kindTooLarge, "The value does not fit what the master accepts.")
	case errors.Is(err, store.ErrNotFound):
		return refuse(kindNotFound, "The partition that answered holds no entry of this key.")
	case errors.Is(err, store.ErrResync):
		return refuse(kindResync, "Deletions that came after this token are collected already, or a restore has undone changes before it.")
	case errors.Is(err, store.ErrDifferentMasters):
		return refuse(kindDifferentMasters, "The keys have more than one master.")
	case errors.Is(err, store.ErrOutcomeUnknown):
		return refuse(kindOutcomeUnknown, "The connection to the master broke during the commit.")
	}
	if e := refusalOfRead(err); e != nil {
		return e
	}
	switch {
	case errors.As(err, &master):
		e := refuse(kindMasterUnavailable, "The master %s is not available.", master.Master)
		e.retry, e.members.Master = master.RetryAfter, master.Master
		return e
	case errors.Is(err, store.ErrMasterUnavailable):
		return refuse(kindMasterUnavailable, "The key's master is not available.")
	case errors.Is(err, store.ErrClosed):
		return refuse(kindShuttingDown, "The store is closed.")
	case errors.Is(err, store.ErrNoPartition), errors.Is(err, partition.ErrUnavailable):
		return refuse(kindNoPartition, "No partition can answer now.")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(kindTimedOut, "The request was given up.")
	}
	return refuse(kindInternal, "The cause is in the log of this server.")
}

// refusalOfRead maps what a read can ask for and not get; nil for all else.
func refusalOfRead(err error) *refusal {
	var (
		session *store.SessionError
		stale   *store.StalenessError
		few     *store.CopiesError
	)
	switch {
	case errors.As(err, &session):
		e := refuse(kindSession, "No partition that answers has reached the session.")
		e.retry, e.members.Master = session.RetryAfter, session.Master
		return e
	case errors.As(err, &stale):
		e := refuse(kindTooStale, "No partition that answers is known to be at most %v behind.", stale.Max)
		e.retry = stale.RetryAfter
		return e
	case errors.As(err, &few) && few.Asked > few.Configured:
		return refuseParameter("r", "r is at most %d, the number of partitions, not %d.", few.Configured, few.Asked)
	case errors.As(err, &few):
		e := refuse(kindTooFewPartitions, "Of %d partitions that were asked for, %d answered.", few.Asked, few.Answered)
		e.retry = few.RetryAfter
		return e
	}
	return nil
}

// logLevel is how grave a failure of the server is. That something is away
// is told once by who finds out, and not by each request that it meets.
func (e *refusal) logLevel() slog.Level {
	switch e.kind.status {
	case http.StatusInternalServerError:
		return slog.LevelError
	case http.StatusServiceUnavailable:
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// fail answers with the problem that err is. It is the only writer of errors.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	rw := w.(*response)
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		// The client is gone, or has only ended its own side of the connection,
		// which looks the same from here: it must not take the absence of an
		// answer for an empty one, nor half a list for a whole one.
		rw.status, rw.cut = statusClientGone, true
		panic(http.ErrAbortHandler)
	}
	rw.duplex = false // a problem is the whole answer
	e := refusalOf(err)
	if e.kind.status >= 500 {
		s.options.Logger.Log(r.Context(), e.logLevel(), "request failed", "request", rw.id, "method", r.Method,
			"path", r.URL.EscapedPath(), "problem", e.kind.slug, "error", err)
	}
	if rw.status != 0 {
		rw.cut = true
		panic(http.ErrAbortHandler) // too late for an answer: the client must see that this one is not whole
	}
	if d, ok := errors.AsType[*decided](err); ok {
		if session, err := s.readSession(r.Header); err == nil { // what was no session was refused for that
			s.setSession(rw, session, d.seen)
		}
	}
	s.writeProblem(w, r, e)
}

func (s *Server) writeProblem(w http.ResponseWriter, r *http.Request, e *refusal) {
	h := w.Header()
	for _, name := range [...]string{"Etag", "Last-Modified", "Content-Length", "Accept-Ranges", "Content-Security-Policy"} {
		delete(h, name)
	}
	h["Cache-Control"] = noStore
	if e.kind.status == http.StatusServiceUnavailable {
		h["Retry-After"] = []string{retryAfter(e.retry)}
	}
	p := problemOf(e, r, w.(*response).id)
	offers := problemOffers
	if isClassic(r) {
		offers = classicProblemOffers
	}
	o, ok := negotiate(r.Header["Accept"], offers)
	if !ok {
		o = problemOffers[0] // better an unaccepted form than no explanation
	}
	s.write(w, r, answer{status: e.kind.status, document: p, offer: o})
}

// retryAfter is in whole seconds, at least one.
func retryAfter(d time.Duration) string {
	if d <= 0 {
		d = defaultRetry
	}
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// problem is the document of RFC 9457.
type problem struct {
	wire.Problem
	explanation string
}

// document is the problem without its request.
func (e *refusal) document() wire.Problem {
	return wire.Problem{Type: problemsPath + e.kind.slug, Title: e.kind.title, Status: e.kind.status, Detail: wire.Text(e.detail), ProblemMembers: e.members}
}

func problemOf(e *refusal, r *http.Request, id string) *problem {
	p := &problem{e.document(), e.kind.explanation}
	p.Instance, p.Request = r.URL.EscapedPath(), id
	return p
}

func (p *problem) page() string { return "problem.html" }

// Explanation is for the page.
func (p *problem) Explanation() string { return p.explanation }

func (p *problem) writeText(b *bytes.Buffer) {
	fmt.Fprintf(b, "%d %s\n", p.Status, p.Title)
	if p.Detail != "" {
		fmt.Fprintf(b, "%s\n", p.Detail)
	}
	fmt.Fprintf(b, "%s\nrequest %s\n", p.Type, p.Request)
}
