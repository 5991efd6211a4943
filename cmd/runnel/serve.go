package main

import (
	"context"
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
	"github.com/runnelkv/runnel/cmd/runnel/internal/node"
	"github.com/runnelkv/runnel/config"
)

const serveLong = `Serve the HTTP API over the partitions of a configuration, with the sync process inside.

Without --config it runs three embedded SQLite partitions in --data, the first of them the master, without any
installation. With --config FILE it runs on the MySQL, MariaDB or SQLite databases that the file
names, and creates missing databases and tables there when the account may.

SIGTERM or an interrupt stops the server after every accepted request has been answered. SIGHUP reads the file again:
a new [[partition]] joins the running store, keys and quotas are replaced, and an invalid file changes nothing.

Where other machines reach the address, the server demands TLS and an admin key.`

type serveFlags struct {
	configFlags
	listen   string
	noSync   bool
	insecure bool
}

func newServe(p *program) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:     "serve",
		Short:   "Serve the HTTP API, with the sync process inside",
		Long:    serveLong,
		Example: "  runnel serve\n  runnel serve --data /var/lib/runnel --listen 127.0.0.1:9000\n  runnel serve --config /etc/runnel.toml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.runServer(cmd.Context(), f)
		},
	}
	f.addTo(cmd)
	cmd.Flags().StringVar(&f.listen, "listen", "", "listen on `ADDR` instead of the configured address")
	cmd.Flags().BoolVar(&f.noSync, "no-sync", false, "leave the sync process to 'runnel sync'")
	cmd.Flags().BoolVar(&f.insecure, "insecure", false, "listen on an address that other machines reach, without TLS and keys")
	return cmd
}

// runServer runs a node until ctx ends.
func (p *program) runServer(ctx context.Context, f serveFlags) error {
	c, err := f.readConfig()
	if err == nil {
		err = f.prepareData()
	}
	if err != nil {
		return err
	}
	if f.listen != "" {
		c.HTTP.Listen = f.listen
	}
	return node.Serve(ctx, node.Options{
		Config: c, File: f.file, Version: buildVersion().Version, NoSync: f.noSync, Insecure: f.insecure, Logger: node.NewLogger(p.Err, c.Log),
		OnListen: func(address net.Addr) { p.printBanner(f, serverURL(c.HTTP, address)) },
	})
}

func serverURL(c config.HTTP, address net.Addr) string {
	if c.TLS.IsSet() {
		return "https://" + address.String()
	}
	return "http://" + address.String()
}

// printBanner prints the URL, and without a configuration file how to use the server.
func (p *program) printBanner(f serveFlags, url string) {
	if f.file != "" {
		fmt.Fprintf(p.Out, "runnel serves %s\n", url)
		return
	}
	fmt.Fprintf(p.Out, `runnel serves %[1]s from three SQLite partitions in %[2]s

  curl -X PUT --data-binary 'hello' %[1]s/v1/keys/greeting     write a value
  curl '%[1]s/v1/keys/greeting?consistency=master'             read it
  curl '%[1]s/v1/keys?prefix=gr'                              list keys
  curl -X DELETE %[1]s/v1/keys/greeting                       delete it
  curl %[1]s/v1/status                                        see the partitions
  runnel key create ops --role admin%[3]s      from then on every request needs a key

Without consistency=master any partition answers a read, which for a moment can be what stood there before.
Stop it with Ctrl-C; the data stays in %[2]s.
`, url, console.Line(f.data), console.Line(f.dataFlag()))
}
