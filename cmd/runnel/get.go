package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnelkv/runnel/api/wire"
)

type getOptions struct {
	json   bool
	output string
	read   readFlags
}

func newGet(p *program) *cobra.Command {
	var o getOptions
	cmd := &cobra.Command{
		Use:   "get KEY",
		Short: "Print the value of a key",
		Long: `Print the value of KEY, byte for byte as it is stored.

With --json the whole entry is printed instead: its value (value_base64 when it
is not UTF-8), media type, ETag, revision, times and metadata.

By default any partition may answer, so the value can be a moment old.
--consistency master asks the key's master; --max-staleness 5s only who is proven
to be at most so far behind; --r 2, quorum or all takes the newest of so many
partitions. --session FILE, which goes with each of these, shows nothing older
than what commands with that file have read or written.

A key that does not exist is an error: exit status 1, nothing printed.`,
		Example: `  runnel get greeting
  runnel get 'photos/cat 1.jpg' -o cat.jpg
  runnel get greeting --json | jq .etag
  runnel get balance --consistency master
  runnel get price --max-staleness 5s
  runnel get price --r quorum --session my.session`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.read.check(cmd); err != nil {
				return err
			}
			c, err := p.clientIn(o.read.session)
			if err != nil {
				return err
			}
			return p.get(cmd.Context(), c, args[0], o)
		},
	}
	f := cmd.Flags()
	o.read.defineKey(cmd)
	f.BoolVar(&o.json, "json", false, "print the whole entry as JSON")
	f.StringVarP(&o.output, "output", "o", "", "write to `FILE`, which appears only once it is whole")
	return cmd
}

func (p *program) get(ctx context.Context, c *client, key string, o getOptions) error {
	query := url.Values{}
	o.read.set(query)
	accept := "*/*"
	if o.json {
		accept = "application/json"
	}
	resp, err := c.do(ctx, request{
		method: http.MethodGet, path: wire.Path(wire.KeysPath, key), query: query, repeatable: true, proof: "Runnel-Revision",
		header: http.Header{"Accept": {accept}},
	})
	if err != nil {
		return ofKey(key, err)
	}
	defer resp.Body.Close()
	body := io.Reader(resp.Body)
	if o.json {
		text, err := entryJSON(key, resp)
		if err != nil {
			return err
		}
		body = strings.NewReader(text)
	}
	if o.output != "" {
		return writeFile(o.output, body)
	}
	_, err = io.Copy(p.stdout, body)
	return err
}

// entryJSON returns the whole entry that resp holds, as indented JSON. Accept: application/json is answered with the
// entry, unless the value itself is JSON: then the value comes as it is, and the entry is put together from the header.
// An entry is known by its key and revision; its ETag is that of the value, while the header's is that of the document.
func entryJSON(key string, resp *http.Response) (string, error) {
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	var e entry
	if json.Unmarshal(body, &e) == nil && e.Key == key && strconv.FormatInt(e.Revision, 10) == resp.Header.Get("Runnel-Revision") {
		return indent(body)
	}
	e = entryOf(key, body, resp.Header)
	text, err := json.Marshal(&e)
	if err != nil {
		return "", err
	}
	return indent(text)
}

// entryOf builds an entry of a value and the header it came with. A Last-Modified has whole seconds.
func entryOf(key string, value []byte, h http.Header) entry {
	e := entry{Key: key, ContentType: h.Get("Content-Type"), ETag: h.Get("ETag")}
	e.setValue(value)
	e.Revision, _ = strconv.ParseInt(h.Get("Runnel-Revision"), 10, 64)
	if at, err := http.ParseTime(h.Get("Last-Modified")); err == nil {
		e.ModifiedAt = &at
	}
	for name, values := range h {
		if meta, ok := strings.CutPrefix(name, wire.MetaHeader); ok {
			if e.Metadata == nil {
				e.Metadata = map[string]string{}
			}
			e.Metadata[strings.ToLower(meta)] = strings.Join(values, ", ")
		}
	}
	return e
}
