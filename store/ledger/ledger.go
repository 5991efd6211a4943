package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/runnelkv/runnel/store"
)

// Ledger keeps accounts in a store. Its methods are safe for concurrent use.
type Ledger struct {
	store   Store
	options Options
	soon    chan Ref // unfinished transfers that this process is to finish at once
}

// Store is the part of *store.Store that the ledger uses.
type Store interface {
	Update(ctx context.Context, keys []store.Key, o store.UpdateOptions, fn func(*store.Tx) error) error
	UpdateEach(ctx context.Context, writes []store.Write)
	Get(ctx context.Context, k store.Key, o store.ReadOptions) (store.Read, error)
	GetMany(ctx context.Context, keys []store.Key, o store.ReadOptions, each func(i int, r store.Read, err error))
	List(ctx context.Context, o store.ListOptions) (store.Page, error)
	View(ctx context.Context, partition string) (*store.View, error)
	Secure(ctx context.Context, marks ...store.Mark) error
	Voters() int
	Halt(ctx context.Context, reason string) error
	Halted() string
}

// Options configures a Ledger. The zero value of a field means its default.
type Options struct {
	Every  time.Duration // between two looks at the queues, default 1 s
	Grace  time.Duration // for which a transfer is left to the process that took it, default 2 s
	Logger *slog.Logger  // default slog.Default()
	// Failpoint, if not nil, is called at the points of failure that tests name; inside an Update it may be called again.
	Failpoint func(point string)
}

// New returns the ledger in a store.
func New(s Store, o Options) *Ledger {
	o.Every, o.Grace, o.Logger = cmp.Or(o.Every, time.Second), cmp.Or(o.Grace, 2*time.Second), cmp.Or(o.Logger, slog.Default())
	if o.Failpoint == nil {
		o.Failpoint = func(string) {}
	}
	return &Ledger{store: s, options: o, soon: make(chan Ref, 4096)}
}

// fewestVoters is the number of voters from which a majority of them is more than the master and outlives the master.
const fewestVoters = 3

// ensureHeld returns nil once a majority of the voters holds the marked entries and everything before, so that neither a move nor a
// promotion undoes them. With fewer than three voters the commit on the master, which has been answered before, is enough: no
// majority without the master exists then. Nothing is answered, and no further step begins, before ensureHeld has returned. Its
// error is ErrNotHeld.
func (l *Ledger) ensureHeld(ctx context.Context, marks ...store.Mark) error {
	if len(marks) == 0 || l.store.Voters() < fewestVoters {
		return nil
	}
	if err := l.store.Secure(ctx, marks...); err != nil {
		return fmt.Errorf("%w: %v", ErrNotHeld, err) // an error of a copy is no error of the step
	}
	return nil
}

// update runs fn as an Update of the ledger and waits until the entries that fn has read and written are held. fn appends at
// most lines lines of history.
func (l *Ledger) update(ctx context.Context, keys []store.Key, lines int, fn func(*step) error) error {
	var marks []store.Mark
	err := l.store.Update(ctx, keys, options(len(keys), lines), func(tx *store.Tx) error {
		s := &step{Tx: tx}
		err := fn(s)
		marks = s.marks()
		return err
	})
	if err != nil {
		return err
	}
	return l.ensureHeld(ctx, marks...)
}

// options are those of an Update of so many keys and lines of history.
func options(keys, lines int) store.UpdateOptions {
	const entryBytes = 256
	return store.UpdateOptions{Appends: lines, Halts: true, Bytes: int64(entryBytes * (keys + lines))}
}

// step is an Update of the ledger.
type step struct {
	*store.Tx
	last store.Mark   // of the newest entry that the step has written
	read []store.Mark // per origin, of the newest entry that the step has read: an earlier step may not be held yet
}

// Get reads a declared key.
func (tx *step) Get(k store.Key) (store.Entry, bool) {
	tx.read = addMark(tx.read, tx.Seen(k))
	return tx.Tx.Get(k)
}

// Put writes a declared key.
func (tx *step) Put(e store.Entry) store.Entry {
	e = tx.Tx.Put(e)
	tx.noteLast(e)
	return e
}

// Delete deletes a declared key.
func (tx *step) Delete(k store.Key) {
	if e, deleted := tx.Tx.Delete(k); deleted {
		tx.noteLast(e)
	}
}

// marks are those of everything that the step has read and written.
func (tx *step) marks() []store.Mark { return addMark(tx.read, tx.last) }

// addMark returns the marks with further ones; of each origin only the newest remains. A zero mark, of no entry, adds nothing.
func addMark(marks []store.Mark, more ...store.Mark) []store.Mark {
	for _, m := range more {
		i := slices.IndexFunc(marks, func(known store.Mark) bool { return known.Origin == m.Origin })
		switch {
		case m.Revision == 0:
		case i < 0:
			marks = append(marks, m)
		default:
			marks[i].Revision = max(marks[i].Revision, m.Revision)
		}
	}
	return marks
}

// readAccount reads a declared account. An *UnknownError: there is none.
func (tx *step) readAccount(id string) (Account, error) {
	e, ok := tx.Get(accountKey(id))
	if !ok {
		return Account{}, &UnknownError{Account: id}
	}
	return decodeAccount(&e)
}

func (tx *step) putAccount(a *Account) { a.Seen = tx.putValue(accountKey(a.ID), a) }

// putValue writes a value as JSON.
func (tx *step) putValue(k store.Key, value any) store.Mark {
	e := tx.Put(store.Entry{Key: k, ContentType: "application/json", Value: encode(value)})
	return store.Mark{Origin: e.Origin, Revision: e.Revision}
}

func (tx *step) noteLast(e store.Entry) {
	if e.Revision > tx.last.Revision {
		tx.last = store.Mark{Origin: e.Origin, Revision: e.Revision}
	}
}

// noteLine appends a line to the history of an account and counts the line. The account is to be put afterwards.
func (tx *step) noteLine(a *Account, line Line) {
	a.Count++
	line.BalanceAfter, line.At = a.Balance, tx.Now()
	tx.noteLast(tx.Append(histories.Key(historyPrefix(a.ID)), store.Entry{ContentType: "application/json", Value: encode(line)}))
}

// encode encodes a value of this package, which never fails.
func encode(value any) []byte {
	b, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return b
}

// Line is a line of the history of an account. Each operation on an account writes its line in the same Update.
type Line struct {
	Event        string        `json:"event,omitempty"`    // "": money has moved; otherwise opened, changed, held, …
	Transfer     *Ref          `json:"transfer,omitempty"` // of events about transfers
	Peer         string        `json:"peer,omitempty"`     // the opposite account
	Amount       int64         `json:"amount"`             // added to the balance
	Held         int64         `json:"held,omitempty"`     // added to the held money
	BalanceAfter int64         `json:"balance_after"`
	Memo         string        `json:"memo,omitempty"`
	At           store.Instant `json:"at"`
	By           string        `json:"by,omitempty"` // the name of the API key that asked

	Cursor string `json:"-"` // for HistoryPage.After
}

func decodeLine(e *store.Entry) (line Line, err error) {
	if err := json.Unmarshal(e.Value, &line); err != nil {
		return line, fmt.Errorf("the entry %s is damaged: %w", e.Key, err)
	}
	line.Cursor = string(e.Key[max(0, len(e.Key)-16):])
	return line, nil
}

var (
	// ErrConflict: the id belongs to an account or transfer with different content. Nothing was stored.
	ErrConflict = errors.New("the id is taken by other content")
	// ErrNotFound: there is no such transfer.
	ErrNotFound = errors.New("there is no such transfer")
	// ErrDifferentMasters: the accounts of several postings have different masters. Nothing was stored.
	ErrDifferentMasters = errors.New("the accounts of several postings have different masters")
	// ErrNotHeld: a majority of the voters is not known to hold a step. A promotion may undo the step, which stands otherwise. An
	// ErrNotHeld is a store.ErrOutcomeUnknown: the same request again finds the outcome.
	ErrNotHeld = fmt.Errorf("%w: a majority of the voters is not known to hold the write", store.ErrOutcomeUnknown)
)

// InputError says why a part of a request is not valid. Nothing was read or stored.
type InputError struct {
	Member string // "amount", "postings", …
	Reason string
}

func (e *InputError) Error() string { return e.Member + " " + e.Reason }

// UnknownError: there is no Account of this id. Nothing was stored.
type UnknownError struct{ Account string }

func (e *UnknownError) Error() string { return fmt.Sprintf("there is no account %q", e.Account) }

// CurrencyError: the currency of the Account is not that of the transfer. Nothing was stored.
type CurrencyError struct{ Account, Has, Wanted string }

func (e *CurrencyError) Error() string {
	return fmt.Sprintf("the account %q is kept in %s, not in %s", e.Account, e.Has, e.Wanted)
}

// OverflowError: the balance of the Account would leave the range of 64 bits. Nothing was stored.
type OverflowError struct{ Account string }

func (e *OverflowError) Error() string {
	return fmt.Sprintf("the balance of %q would exceed 2^63-1", e.Account)
}

// StateError: the transfer or account is not in a state for this, State says in which. Nothing was stored.
type StateError struct{ State, Detail string }

func (e *StateError) Error() string { return e.Detail }

// FailedError: the business refuses the transfer. The record is kept as FAILED, and its id stays taken.
type FailedError struct{ Transfer Transfer }

func (e *FailedError) Error() string { return "the transfer has failed: " + e.Transfer.Reason.Code }

// The spaces of the ledger.
const (
	accounts  store.Space = "account"
	transfers store.Space = "transfer"
	credits   store.Space = "credit"
	histories store.Space = "history"
	pending   store.Space = "pending"
	due       store.Space = "due"
	words     store.Space = "index"
	worlds    store.Space = "world"
)

// World is the account that stands for everything outside of the ledger.
const World = "@world"

// MaxIDBytes is the largest length of the id of an account or a transfer.
const MaxIDBytes = 100

// CheckID returns an *InputError unless id can be the id of an account or a transfer that a client names: 1..100 bytes of valid
// UTF-8 without control characters and braces, that do not begin with @ or ~.
func CheckID(member, id string) error {
	err := store.CheckName(id, MaxIDBytes)
	reason := ""
	switch key, isKey := err.(*store.KeyError); {
	case isKey:
		reason = key.Reason
	case strings.ContainsAny(id, "{}"):
		reason = "contains a brace"
	case id[0] == '@' || id[0] == '~':
		reason = "begins with " + id[:1] + ", which is reserved"
	default:
		return nil
	}
	return &InputError{Member: member, Reason: reason}
}

// Ref names a transfer: the account at which its record lies, and its id there. The account is the payer, or, for a
// deposit, the payee.
type Ref struct {
	Account string `json:"account"`
	ID      string `json:"id"`
}

// recordName is the part of keys that names the transfer.
func (r Ref) recordName() string { return tag(r.Account) + "/" + r.ID }

func (r Ref) key() store.Key { return transfers.Key(r.recordName()) }

// refOf parses a name made by Ref.recordName.
func refOf(name string) (Ref, bool) {
	account, id, ok := strings.Cut(name, "}/")
	if !ok || len(account) < 2 || account[0] != '{' {
		return Ref{}, false
	}
	return Ref{Account: account[1:], ID: id}, true
}

func tag(account string) string { return "{" + account + "}" }

func accountKey(id string) store.Key { return accounts.Key(tag(id)) }

// queueKey is the key of a transfer in a queue that is ordered by time.
func queueKey(space store.Space, at store.Instant, r Ref) store.Key {
	return space.Key(fmt.Sprintf("%016d/%s", at, r.recordName()))
}

// queueItem parses the name of a key of a queue.
func queueItem(name string) (at store.Instant, r Ref, ok bool) {
	micros, rest, _ := strings.Cut(name, "/")
	n, err := strconv.ParseInt(micros, 10, 64)
	r, ok = refOf(rest)
	return store.Instant(n), r, ok && err == nil
}

func creditKey(payee string, r Ref) store.Key { return credits.Key(tag(payee) + "/" + r.recordName()) }

func historyPrefix(account string) string { return tag(account) + "/" }

func wordKey(word, account string) store.Key { return words.Key(word + "/" + tag(account)) }

// worldTags has, for each slot, the smallest number with the hash of the slot.
var worldTags = sync.OnceValue(func() (tags [store.Slots]string) {
	for left, n := store.Slots, 0; left > 0; n++ {
		t := strconv.Itoa(n)
		if slot := store.SlotOf(worlds.Key(tag(t))); tags[slot] == "" {
			tags[slot] = t
			left--
		}
	}
	return tags
})

// worldKey is the part of @world that has the slot of an account.
func worldKey(account string) store.Key {
	return worlds.Key(tag(worldTags()[store.SlotOf(accountKey(account))]))
}

// wordsOf returns the words by which an account is found: in lower case, distinct, each cut to maxWordBytes.
func wordsOf(id, name, email string) (found []string) {
	_, domain, _ := strings.Cut(email, "@")
	seen := make(map[string]bool)
	for _, text := range []string{id, email, domain} {
		addWord(&found, seen, strings.ToLower(text))
	}
	for _, text := range []string{id, name, email} {
		for _, word := range splitWords(text) {
			addWord(&found, seen, word)
		}
	}
	return found
}

// Bounds of the words of an account.
const (
	maxWords     = 40
	maxWordBytes = 40
)

func addWord(found *[]string, seen map[string]bool, word string) {
	word = cutWord(word)
	if word != "" && !seen[word] && len(*found) < maxWords {
		seen[word] = true
		*found = append(*found, word)
	}
}

// cutWord shortens a word to maxWordBytes, at the end of a character. Slashes and braces have a meaning in keys.
func cutWord(word string) string {
	word = strings.Map(func(r rune) rune {
		if r == '/' || r == '{' || r == '}' {
			return '_'
		}
		return r
	}, word)
	for len(word) > maxWordBytes {
		_, size := utf8.DecodeLastRuneInString(word)
		word = word[:len(word)-size]
	}
	return word
}
