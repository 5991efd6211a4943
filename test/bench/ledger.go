package main

import (
	"context"
	"time"

	"github.com/runnelkv/runnel/test/bench/internal/report"
	"github.com/runnelkv/runnel/test/bench/internal/testbed"
)

const (
	ledgerAccounts = 10_000
	ledgerFilling  = 20 * time.Second // about
)

// ledger measures transfers beside plain transactions of SQL that do the same.
func (b *bench) ledger(ctx context.Context) error {
	return b.measureLedger(ctx, ledgerAccounts)
}

func (b *bench) measureLedger(ctx context.Context, accounts int) error {
	if why := b.testbed.Missing["runnel-mariadb"]; why != nil {
		for _, name := range []string{report.OurLedger, report.TwoLedgers, report.PlainLedger} {
			b.testbed.Missing[name] = why
		}
		return nil
	}
	systems, err := b.testbed.StartLedgers(ctx, accounts)
	if err != nil {
		return err
	}
	b.progress.step(ledgerFilling, "")
	return b.measureRounds(ctx, systems, report.LedgerPoints())
}

// expectedLedger returns the approximate duration of the ledger phase.
func (b *bench) expectedLedger() time.Duration {
	system := &testbed.System{Direct: map[string]testbed.DirectOperation{}}
	for _, p := range report.LedgerPoints() {
		system.Direct[p.Case] = func(context.Context, int, uint64) error { return nil }
	}
	return ledgerFilling + b.expectedOf([]*testbed.System{system, system, system}, report.LedgerPoints())
}
