package bank

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnelkv/runnel/api/client"
)

// accounts is the number of accounts.
const accounts = 10

// Bounds of waiting.
const (
	repeatFor = time.Minute     // for a known outcome of a transfer
	endWithin = 2 * time.Minute // until no money is under way and every partition is level
	pause     = 50 * time.Millisecond
)

// options bound a run.
type options struct {
	connections int
	duration    time.Duration
	transfers   int64 // 0: any number
	balance     int64
	seed        uint64
}

// report is the result of a run.
type report struct {
	Transfers int64   `json:"transfers"` // posted, or under way when they were answered
	PerSecond float64 `json:"per_second"`
	SlowestMS float64 `json:"slowest_ms"`
	Refused   int64   `json:"refused"`  // the payer had too little money
	Repeated  int64   `json:"repeated"` // requests after an unknown outcome
	Masters   int     `json:"masters"`
	Reads     int64   `json:"reads"` // of all accounts at once
	Books     int64   `json:"books"` // that were added up
	Total     int64   `json:"total"`
}

// bank is a run under way.
type bank struct {
	options
	server     *client.Client
	ids        []string
	partitions []string // that are healthy
	masters    int

	begun, transfers, refused, repeated, reads, books atomic.Int64
	slowest                                           atomic.Int64 // nanoseconds
}

// run opens the accounts, transfers and checks until the options end the run, and closes the accounts.
func run(ctx context.Context, c *client.Client, o options) (*report, error) {
	b := &bank{options: o, server: c}
	prefix := "bench-" + strings.ToLower(rand.Text()[:10]) + "-"
	for i := range accounts {
		b.ids = append(b.ids, prefix+strconv.Itoa(i))
	}
	status, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	b.masters = len(status.Masters)
	for _, p := range status.Partitions {
		if client.Healthy(p) {
			b.partitions = append(b.partitions, string(p.Name))
		}
	}
	began := time.Now()
	if err = b.open(ctx); err == nil {
		began = time.Now()
		err = b.transferAndRead(ctx)
	}
	took := time.Since(began)
	if err == nil {
		err = b.checkEnd(ctx)
	}
	err = errors.Join(err, b.close(ctx))
	return &report{
		Transfers: b.transfers.Load(), PerSecond: float64(b.transfers.Load()) / took.Seconds(), SlowestMS: float64(b.slowest.Load()) / 1e6,
		Refused: b.refused.Load(), Repeated: b.repeated.Load(), Masters: b.masters, Reads: b.reads.Load(), Books: b.books.Load(), Total: b.total(),
	}, err
}

func (b *bank) total() int64 { return accounts * b.balance }

// open opens the accounts and pays the money in.
func (b *bank) open(ctx context.Context) error {
	for _, id := range b.ids {
		if _, err := b.server.OpenAccount(ctx, id, client.AccountDraft{Name: "runnel bench bank", Currency: "XTS"}); err != nil {
			return fmt.Errorf("open %s: %w", id, err)
		}
		if _, err := b.move(ctx, id, "in", client.TransferOrder{From: "@world", To: id, Amount: &client.Amount{Value: b.balance}}); err != nil {
			return fmt.Errorf("pay in to %s: %w", id, err)
		}
	}
	return nil
}

// transferAndRead runs the connections and the reader.
func (b *bank) transferAndRead(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	end := time.Now().Add(b.duration)
	var clients, reader sync.WaitGroup
	for n := range b.connections {
		clients.Go(func() {
			if err := b.transferUntil(ctx, end, n); err != nil {
				cancel(err)
			}
		})
	}
	reading, stopReading := context.WithCancel(ctx)
	reader.Go(func() {
		if err := b.readUntil(reading); err != nil {
			cancel(err)
		}
	})
	clients.Wait()
	stopReading()
	reader.Wait()
	return context.Cause(ctx)
}

// transferUntil makes transfers, one after another.
func (b *bank) transferUntil(ctx context.Context, end time.Time, connection int) error {
	random := mathrand.New(mathrand.NewPCG(b.seed, uint64(connection)))
	for i := 0; ctx.Err() == nil && time.Now().Before(end); i++ {
		if b.options.transfers > 0 && b.begun.Add(1) > b.options.transfers {
			return nil
		}
		from := random.IntN(accounts)
		to := (from + 1 + random.IntN(accounts-1)) % accounts
		o := client.TransferOrder{To: b.ids[to], Amount: &client.Amount{Value: 1 + random.Int64N(max(1, b.balance/5))}}
		began := time.Now()
		posted, err := b.move(ctx, b.ids[from], fmt.Sprintf("%d-%d", connection, i), o)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("transfer from %s to %s: %w", b.ids[from], b.ids[to], err)
		case posted:
			b.transfers.Add(1)
		default:
			b.refused.Add(1)
		}
		b.noteSlowest(time.Since(began))
	}
	return nil
}

func (b *bank) noteSlowest(took time.Duration) {
	for {
		slowest := b.slowest.Load()
		if int64(took) <= slowest || b.slowest.CompareAndSwap(slowest, int64(took)) {
			return
		}
	}
}

// move makes a transfer, and repeats the request until the outcome is known. posted false: the payer has too little money.
func (b *bank) move(ctx context.Context, account, id string, o client.TransferOrder) (posted bool, err error) {
	for until := time.Now().Add(repeatFor); ; b.repeated.Add(1) {
		if _, err = b.server.PutTransfer(ctx, account, id, o); err == nil {
			return true, nil
		}
		if refusal, ok := errors.AsType[*client.Error](err); ok && refusal.Slug() == "insufficient-funds" {
			return false, nil
		}
		mayPass := errors.Is(err, client.ErrServer) || errors.Is(err, client.ErrOutcomeUnknown)
		if !mayPass || errors.Is(err, client.ErrUnauthorized) || time.Now().After(until) || !wait(ctx) {
			return false, err
		}
	}
}

// wait waits for a moment. false: ctx has ended.
func wait(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}

// readUntil reads all accounts, or adds up the books, until ctx ends. Reads that fail are left out; reads with a wrong total
// are an error.
func (b *bank) readUntil(ctx context.Context) error {
	for i := 0; ctx.Err() == nil; i++ {
		var err error
		if b.masters == 1 {
			err = b.readAll(ctx)
		} else if len(b.partitions) > 0 {
			_, err = b.addUp(ctx, b.partitions[i%len(b.partitions)])
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		if !wait(ctx) {
			break
		}
	}
	return nil
}

// readAll reads all accounts in a single read of their master.
func (b *bank) readAll(ctx context.Context) error {
	prefix := strings.TrimSuffix(b.ids[0], "0")
	page, err := b.server.Accounts(ctx, url.Values{"prefix": {prefix}, "consistency": {"master"}})
	if err != nil {
		return passing(err)
	}
	var sum int64
	for _, a := range page.Accounts {
		if sum += a.Balance.Value; a.Balance.Value < 0 {
			return fmt.Errorf("the balance of %s is %d", a.ID, a.Balance.Value)
		}
	}
	if len(page.Accounts) != accounts || sum != b.total() {
		return fmt.Errorf("a read of all accounts has %d of %d accounts, with %d in place of %d", len(page.Accounts), accounts, sum, b.total())
	}
	b.reads.Add(1)
	return nil
}

// passing returns nil for errors of the server that a repetition may not meet.
func passing(err error) error {
	if errors.Is(err, client.ErrServer) && !errors.Is(err, client.ErrUnauthorized) {
		return nil
	}
	return err
}

// addUp adds up the books on a partition. false: the partition is not level, or does not answer.
func (b *bank) addUp(ctx context.Context, partition string) (added bool, err error) {
	r, err := b.server.CheckBooks(ctx, partition)
	if err != nil {
		return false, passing(err)
	}
	if len(r.Faults) > 0 {
		return false, fmt.Errorf("the books on %s do not add up: %s", r.Partition, r.Faults[0])
	}
	b.books.Add(1)
	return true, nil
}

// checkEnd waits until no money is under way, compares the total, and adds up the books on every healthy partition.
func (b *bank) checkEnd(ctx context.Context) error {
	until := time.Now().Add(endWithin)
	for {
		sum, under, err := b.sums(ctx)
		switch {
		case err != nil:
			return err
		case under == 0 && sum != b.total():
			return fmt.Errorf("the accounts have %d in place of %d", sum, b.total())
		case under != 0 && time.Now().After(until):
			return fmt.Errorf("%d are still under way after %v", under, endWithin)
		}
		if under == 0 {
			break
		}
		if !wait(ctx) {
			return context.Cause(ctx)
		}
	}
	for _, name := range b.partitions {
		if err := b.addUpWithin(ctx, name, until); err != nil {
			return err
		}
	}
	return nil
}

// sums reads each account from its master, and adds up the balances and the money under way.
func (b *bank) sums(ctx context.Context) (balances, under int64, err error) {
	for _, id := range b.ids {
		a, err := b.server.Account(ctx, id)
		if err != nil {
			return 0, 0, fmt.Errorf("read %s: %w", id, err)
		}
		balances, under = balances+a.Balance.Value, under+a.Pending.Value
	}
	return balances, under, nil
}

// addUpWithin adds up the books on a partition as soon as it is level.
func (b *bank) addUpWithin(ctx context.Context, partition string, until time.Time) error {
	for {
		added, err := b.addUp(ctx, partition)
		if added || err != nil {
			return err
		}
		if time.Now().After(until) {
			return fmt.Errorf("the books on %s could not be added up within %v: the partition is not level, or does not answer", partition, endWithin)
		}
		if !wait(ctx) {
			return context.Cause(ctx)
		}
	}
}

// close pays the money out and closes the accounts, also after an interrupt.
func (b *bank) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWithin)
	defer cancel()
	for _, id := range b.ids {
		a, err := b.server.Account(ctx, id)
		if errors.Is(err, client.ErrNotFound) {
			continue // not opened
		}
		if err == nil && a.Balance.Value > 0 {
			_, err = b.move(ctx, id, "out", client.TransferOrder{To: "@world", Amount: &a.Balance})
		}
		if err == nil {
			_, err = b.server.CloseAccount(ctx, id)
		}
		if err != nil {
			return fmt.Errorf("the accounts that begin with %s could not be closed: %w", strings.TrimSuffix(b.ids[0], "0"), err)
		}
	}
	return nil
}
