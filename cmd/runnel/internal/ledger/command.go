package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// command holds the parts that the commands share.
type command struct {
	*console.Streams
	connect func() (*client.Client, error)
	json    bool
}

const long = `Open accounts and move money between them, in whole minor units such as cents.

The account @world stands for everything outside. Every command that moves money takes
--id, with which it can be repeated without moving the money again; without --id the
command makes an id and prints it.

On a terminal, 'runnel ledger' without a command offers a menu.`

// New returns the command. connect returns a client of the server.
func New(s *console.Streams, connect func() (*client.Client, error)) *cobra.Command {
	c := &command{Streams: s, connect: connect}
	root := &cobra.Command{
		Use:     "ledger",
		Short:   "Open accounts and transfer money",
		Long:    long,
		Example: "  runnel ledger account open ann --currency EUR --name 'Ann Miller'\n  runnel ledger deposit ann 10000\n  runnel ledger transfer ann shop 2500 --memo coffee",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 0:
				return console.UsageError("runnel ledger has no command %q; see 'runnel ledger --help'", args[0])
			case !s.IsTerminal(s.In):
				return cmd.Help()
			}
			return c.runMenu(cmd.Context())
		},
	}
	root.PersistentFlags().BoolVar(&c.json, "json", false, "print the answers of the server as JSON")
	root.AddCommand(c.newAccount(), c.newDeposit(), c.newWithdraw(), c.newTransfer(), c.newHold(), c.newReverse(), c.newHistory(), c.newVerify())
	return root
}

// document is a document of the ledger.
type document interface {
	Title() string
	Rows() [][2]string
}

// print prints a document.
func (c *command) print(d document, err error) error {
	if err != nil {
		return err
	}
	if c.json {
		e := json.NewEncoder(c.Out)
		e.SetIndent("", "  ")
		return e.Encode(d)
	}
	for _, row := range d.Rows() {
		if row[1] == "" {
			continue
		}
		if _, err := fmt.Fprintf(c.Out, "%s\t%s\n", c.Name(row[0]), c.Name(row[1])); err != nil {
			return err
		}
	}
	return nil
}

// parseAmount reads an amount of the command line.
func parseAmount(text string, least int64) (*client.Amount, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least {
		return nil, console.UsageError("%q is not an amount: amounts are whole numbers of minor units, from %d to 9223372036854775807", text, least)
	}
	return &client.Amount{Value: n}, nil
}

func (c *command) newAccount() *cobra.Command {
	cmd := &cobra.Command{Use: "account", Short: "Open, show, change, close and find accounts"}
	cmd.AddCommand(c.newOpen(), c.newShow(), c.newChange(), c.newClose(), c.newList())
	return cmd
}

func (c *command) newOpen() *cobra.Command {
	var d client.AccountDraft
	var least string
	cmd := &cobra.Command{
		Use:     "open ID",
		Short:   "Open an account",
		Example: "  runnel ledger account open ann --currency EUR --name 'Ann Miller' --email ann@example.com",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if cmd.Flags().Changed("min-balance") {
				if d.MinBalance, err = parseAmount(least, -1<<63+1); err != nil {
					return err
				}
			}
			s, err := c.connect()
			if err != nil {
				return err
			}
			a, err := s.OpenAccount(cmd.Context(), args[0], d)
			return c.print(a, err)
		},
	}
	cmd.Flags().StringVar(&d.Currency, "currency", "EUR", "the `CURRENCY`, 3 to 8 capital letters and digits")
	textFlags(cmd, &d, &least)
	return cmd
}

func textFlags(cmd *cobra.Command, d *client.AccountDraft, least *string) {
	cmd.Flags().StringVar(&d.Name, "name", "", "the `NAME` of the holder")
	cmd.Flags().StringVar(&d.Email, "email", "", "the e-mail `ADDRESS` of the holder")
	cmd.Flags().StringVar(least, "min-balance", "0", "the lowest balance that payments may leave")
}

func (c *command) newShow() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show an account", Example: "  runnel ledger account show ann", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := c.connect()
			if err != nil {
				return err
			}
			a, err := s.Account(cmd.Context(), args[0])
			return c.print(a, err)
		},
	}
}

func (c *command) newChange() *cobra.Command {
	var d client.AccountDraft
	var least string
	var freeze, unfreeze bool
	cmd := &cobra.Command{
		Use: "change ID", Short: "Change the texts of an account, or freeze it", Example: "  runnel ledger account change ann --freeze", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if cmd.Flags().Changed("min-balance") {
				if d.MinBalance, err = parseAmount(least, -1<<63+1); err != nil {
					return err
				}
			}
			switch {
			case freeze:
				d.State = "frozen"
			case unfreeze:
				d.State = "open"
			}
			s, err := c.connect()
			if err != nil {
				return err
			}
			a, err := s.ChangeAccount(cmd.Context(), args[0], d)
			return c.print(a, err)
		},
	}
	textFlags(cmd, &d, &least)
	cmd.Flags().BoolVar(&freeze, "freeze", false, "let the account neither pay nor be paid")
	cmd.Flags().BoolVar(&unfreeze, "unfreeze", false, "open a frozen account again")
	cmd.MarkFlagsMutuallyExclusive("freeze", "unfreeze")
	return cmd
}

func (c *command) newClose() *cobra.Command {
	return &cobra.Command{
		Use: "close ID", Short: "Close an account without money, for ever", Example: "  runnel ledger account close ann", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := c.connect()
			if err != nil {
				return err
			}
			a, err := s.CloseAccount(cmd.Context(), args[0])
			return c.print(a, err)
		},
	}
}

func (c *command) newList() *cobra.Command {
	query := map[string]*string{"prefix": new(string), "q": new(string), "email": new(string), "after": new(string)}
	cmd := &cobra.Command{
		Use: "list", Short: "List or search accounts", Example: "  runnel ledger account list -q miller", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.connect()
			if err != nil {
				return err
			}
			p, err := s.Accounts(cmd.Context(), valuesOf(query))
			return c.print(p, err)
		},
	}
	cmd.Flags().StringVar(query["prefix"], "prefix", "", "only ids that begin so")
	cmd.Flags().StringVarP(query["q"], "query", "q", "", "`WORDS` that begin words of name, e-mail or id")
	cmd.Flags().StringVar(query["email"], "email", "", "the e-mail `ADDRESS` of the holder")
	cmd.Flags().StringVar(query["after"], "after", "", "the `CURSOR` next of the page before")
	return cmd
}

func valuesOf(query map[string]*string) url.Values {
	v := url.Values{}
	for name, text := range query {
		if *text != "" {
			v.Set(name, *text)
		}
	}
	return v
}

// moneyFlags are the flags of commands that move money.
type moneyFlags struct{ id, memo, currency string }

func (f *moneyFlags) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.id, "id", "", "the `ID` of the transfer (default a new one)")
	cmd.Flags().StringVar(&f.memo, "memo", "", "a `TEXT` for the history")
	cmd.Flags().StringVar(&f.currency, "currency", "", "refuse accounts that are not kept in this `CURRENCY`")
}

// move makes a transfer and prints it.
func (c *command) move(ctx context.Context, account string, o client.TransferOrder, f moneyFlags) error {
	s, err := c.connect()
	if err != nil {
		return err
	}
	if f.id == "" {
		if f.id, err = client.NewTransferID(); err != nil {
			return err
		}
	}
	o.Memo, o.Currency = f.memo, f.currency
	t, err := s.PutTransfer(ctx, account, f.id, o)
	return c.print(t, err)
}

func (c *command) newDeposit() *cobra.Command {
	return c.newWorld("deposit", "Pay money in, from @world", func(account string) (from, to string) { return "@world", account })
}

func (c *command) newWithdraw() *cobra.Command {
	return c.newWorld("withdraw", "Pay money out, to @world", func(account string) (from, to string) { return account, "@world" })
}

func (c *command) newWorld(name, short string, sides func(string) (from, to string)) *cobra.Command {
	var f moneyFlags
	cmd := &cobra.Command{
		Use: name + " ACCOUNT AMOUNT", Short: short, Example: "  runnel ledger " + name + " ann 10000", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			amount, err := parseAmount(args[1], 1)
			if err != nil {
				return err
			}
			o := client.TransferOrder{Amount: amount}
			o.From, o.To = sides(args[0])
			return c.move(cmd.Context(), args[0], o, f)
		},
	}
	f.addFlags(cmd)
	return cmd
}

func (c *command) newTransfer() *cobra.Command {
	var f moneyFlags
	cmd := &cobra.Command{
		Use: "transfer FROM TO AMOUNT", Short: "Transfer money between accounts", Example: "  runnel ledger transfer ann shop 2500 --id order-1", Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			amount, err := parseAmount(args[2], 1)
			if err != nil {
				return err
			}
			return c.move(cmd.Context(), args[0], client.TransferOrder{To: args[1], Amount: amount}, f)
		},
	}
	f.addFlags(cmd)
	return cmd
}

func (c *command) newHold() *cobra.Command {
	cmd := &cobra.Command{Use: "hold", Short: "Hold money, and post or void holds"}
	var f moneyFlags
	var ttl string
	make := &cobra.Command{
		Use: "make FROM TO AMOUNT", Short: "Hold money for a later transfer", Example: "  runnel ledger hold make ann shop 4500 --id order-1 --ttl 48h", Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			amount, err := parseAmount(args[2], 1)
			if err != nil {
				return err
			}
			return c.move(cmd.Context(), args[0], client.TransferOrder{To: args[1], Amount: amount, Hold: true, TTL: ttl}, f)
		},
	}
	f.addFlags(make)
	make.Flags().StringVar(&ttl, "ttl", "168h", "the `DURATION` after which the hold is void")
	var part string
	post := &cobra.Command{
		Use: "post ACCOUNT ID", Short: "Move the money of a hold, or a part of it", Example: "  runnel ledger hold post ann order-1 --amount 4000", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			var amount *client.Amount
			if part != "" {
				if amount, err = parseAmount(part, 1); err != nil {
					return err
				}
			}
			s, err := c.connect()
			if err != nil {
				return err
			}
			t, err := s.PostHold(cmd.Context(), args[0], args[1], amount)
			return c.print(t, err)
		},
	}
	post.Flags().StringVar(&part, "amount", "", "the `AMOUNT` to move (default all of the hold)")
	void := c.newAction("void ACCOUNT ID", "End a hold without moving money", "  runnel ledger hold void ann order-1", (*client.Client).VoidHold)
	cmd.AddCommand(make, post, void)
	return cmd
}

func (c *command) newReverse() *cobra.Command {
	return c.newAction("reverse ACCOUNT ID", "Take a posted transfer back, once", "  runnel ledger reverse ann order-1", (*client.Client).ReverseTransfer)
}

// newAction returns a command about a transfer.
func (c *command) newAction(use, short, example string, act func(*client.Client, context.Context, string, string) (*client.Transfer, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Example: example, Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := c.connect()
			if err != nil {
				return err
			}
			t, err := act(s, cmd.Context(), args[0], args[1])
			return c.print(t, err)
		},
	}
}

func (c *command) newHistory() *cobra.Command {
	query := map[string]*string{"after": new(string), "limit": new(string)}
	cmd := &cobra.Command{
		Use: "history ACCOUNT", Short: "Show the history of an account, the newest line first", Example: "  runnel ledger history ann --limit 10", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := c.connect()
			if err != nil {
				return err
			}
			p, err := s.History(cmd.Context(), args[0], valuesOf(query))
			return c.print(p, err)
		},
	}
	cmd.Flags().StringVar(query["after"], "after", "", "the `CURSOR` next of the page before")
	cmd.Flags().StringVar(query["limit"], "limit", "", "the number of lines, up to 1000 (default 100)")
	return cmd
}

// errBooks: the books do not add up.
var errBooks = errors.New("the books do not add up, and the ledger is halted")

func (c *command) newVerify() *cobra.Command {
	var partition string
	var accept bool
	cmd := &cobra.Command{
		Use: "verify", Short: "Add up the books, and halt the ledger if they do not add up", Example: "  runnel ledger verify --partition partition-1", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := c.connect()
			if err != nil {
				return err
			}
			r, err := s.VerifyBooks(cmd.Context(), partition, accept)
			if err := c.print(r, err); err != nil {
				return err
			}
			if len(r.Faults) > 0 && !accept {
				return errBooks
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&partition, "partition", "", "the `NAME` of the partition (default the first that can be read)")
	cmd.Flags().BoolVar(&accept, "accept", false, "let a halted ledger take writes again, whatever the books say")
	return cmd
}
