package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/client"
	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

func newTouch(p *program) *cobra.Command {
	var ttl time.Duration
	var ifMatch, session string
	cmd := &cobra.Command{
		Use:   "touch KEY --ttl DURATION",
		Short: "Renew when a key expires, and print its new ETag",
		Long: `Let KEY expire after --ttl from now. Its value, media type and metadata stay, and are
not sent. A key that does not exist is an error: exit status 1.`,
		Example:           "  runnel touch sessions/7 --ttl 30m",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			if ttl <= 0 {
				return console.UsageError("--ttl is a duration like 30s or 12h, and is needed")
			}
			c, err := p.client(session, client.Options{})
			if err != nil {
				return err
			}
			touched, err := c.Touch(cmd.Context(), args[0], ttl, conditions(ifMatch, ""))
			if err != nil {
				return withKey(args[0], err)
			}
			_, err = fmt.Fprintln(p.Out, touched.ETag)
			return err
		},
	}
	f := cmd.Flags()
	sessionFlag(f, &session)
	f.DurationVar(&ttl, "ttl", 0, "expire after this long, on every node (such as 30s or 24h)")
	f.StringVar(&ifMatch, "if-match", "", "renew only if the key has this `ETAG`")
	return cmd
}
