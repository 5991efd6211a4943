package ledger

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/runnelkv/runnel/api/client"
)

const choices = `
1 open an account   2 deposit   3 withdraw   4 transfer   5 list accounts   6 history   7 end
`

// menu is the dialog on a terminal.
type menu struct {
	*command
	server *client.Client
	lines  *bufio.Scanner
}

// runMenu offers the menu until the user ends it, or the input ends. Refusals are printed, and the menu goes on.
func (c *command) runMenu(ctx context.Context) error {
	s, err := c.connect()
	if err != nil {
		return err
	}
	in := c.Input(ctx)
	defer in.Close()
	m := &menu{command: c, server: s, lines: bufio.NewScanner(in)}
	for {
		fmt.Fprint(c.Out, choices)
		choice, ok := m.ask("choice")
		if !ok || choice == "7" {
			return ctx.Err()
		}
		if err := m.actOn(ctx, choice); errors.Is(err, errEnded) {
			return ctx.Err()
		} else if err != nil {
			fmt.Fprintln(c.Out, "refused:", c.Name(err.Error()))
		}
	}
}

// errEnded: the input has ended in the midst of a choice.
var errEnded = errors.New("the input has ended")

// ask asks a question. false: the input has ended.
func (m *menu) ask(question string) (string, bool) {
	fmt.Fprintf(m.Out, "%s: ", question)
	if !m.lines.Scan() {
		return "", false
	}
	return strings.TrimSpace(m.lines.Text()), true
}

// askAll asks questions, in their order.
func (m *menu) askAll(questions ...string) (answers []string, err error) {
	for _, q := range questions {
		a, ok := m.ask(q)
		if !ok {
			return nil, errEnded
		}
		answers = append(answers, a)
	}
	return answers, nil
}

// actOn carries a choice out.
func (m *menu) actOn(ctx context.Context, choice string) error {
	switch choice {
	case "1":
		a, err := m.askAll("id", "name", "currency (such as EUR)", "opening balance in minor units, or nothing")
		if err != nil {
			return err
		}
		if _, err := m.server.OpenAccount(ctx, a[0], client.AccountDraft{Name: a[1], Currency: a[2]}); err != nil || a[3] == "" || a[3] == "0" {
			return m.show(ctx, a[0], err)
		}
		return m.pay(ctx, a[0], "@world", a[0], a[3])
	case "2", "3":
		a, err := m.askAll("account", "amount in minor units")
		if err != nil {
			return err
		}
		if choice == "2" {
			return m.pay(ctx, a[0], "@world", a[0], a[1])
		}
		return m.pay(ctx, a[0], a[0], "@world", a[1])
	case "4":
		a, err := m.askAll("from", "to", "amount in minor units")
		if err != nil {
			return err
		}
		return m.pay(ctx, a[0], a[0], a[1], a[2])
	case "5":
		p, err := m.server.Accounts(ctx, url.Values{})
		return m.print(p, err)
	case "6":
		a, err := m.askAll("account")
		if err != nil {
			return err
		}
		h, err := m.server.History(ctx, a[0], url.Values{"limit": {"20"}})
		return m.print(h, err)
	}
	fmt.Fprintln(m.Out, "Choose a number from 1 to 7.")
	return nil
}

// pay makes a transfer and shows the account.
func (m *menu) pay(ctx context.Context, account, from, to, amount string) error {
	n, err := parseAmount(amount, 1)
	if err != nil {
		return err
	}
	id, err := client.NewTransferID()
	if err != nil {
		return err
	}
	_, err = m.server.PutTransfer(ctx, account, id, client.TransferOrder{From: from, To: to, Amount: n})
	return m.show(ctx, account, err)
}

// show prints an account, unless err says why not.
func (m *menu) show(ctx context.Context, account string, err error) error {
	if err != nil {
		return err
	}
	a, err := m.server.Account(ctx, account)
	return m.print(a, err)
}
