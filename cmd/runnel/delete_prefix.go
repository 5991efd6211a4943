package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// deletion deletes the keys that begin with a prefix, in steps.
type deletion struct {
	p      *program
	c      *client
	prefix string
	all    bool
	yes    bool
}

// check refuses a command line that may not mean what it says.
func (d *deletion) check(args []string, ifMatch string) error {
	switch {
	case len(args) > 0:
		return usageError("either KEY or --prefix or --all")
	case d.prefix == "" && !d.all:
		return usageError("an empty --prefix would delete every key; say --all if that is meant")
	case d.prefix != "" && d.all:
		return usageError("either --prefix or --all")
	case ifMatch != "":
		return usageError("--if-match is about one key")
	case !d.yes && !d.p.isTerminal(d.p.stdin):
		return usageError("it asks before it deletes many keys, and standard input is no terminal: add --yes")
	}
	return nil
}

func (d *deletion) run(ctx context.Context) error {
	if !d.yes {
		keys, err := d.first(ctx)
		if err != nil {
			return fmt.Errorf("list the keys to delete: %w", err)
		}
		if len(keys) == 0 {
			fmt.Fprintln(d.p.stderr, "deleted 0 keys")
			return nil
		}
		if !d.confirmed(keys) {
			return fmt.Errorf("nothing was deleted")
		}
	}
	progress := d.p.newProgress("delete", -1, unitEntries)
	deleted := int64(0)
	err := d.c.deleteAll(ctx, d.prefix, func(n int64) {
		deleted += n
		progress.add(n)
	})
	progress.finish()
	fmt.Fprintf(d.p.stderr, "deleted %d keys\n", deleted)
	if err != nil {
		return fmt.Errorf("%w; repeat the command to go on", err)
	}
	return nil
}

// shownKeys is how many keys a question shows.
const shownKeys = 10

// first returns the first keys, one more than are shown.
func (d *deletion) first(ctx context.Context) ([]string, error) {
	page, err := d.c.page(ctx, keyQuery{prefix: d.prefix, read: readFlags{consistency: "master"}}, "", shownKeys+1)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, raw := range page.Keys {
		key, err := keyOf(raw)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (d *deletion) confirmed(keys []string) bool {
	for _, key := range keys[:min(shownKeys, len(keys))] {
		fmt.Fprintf(d.p.stderr, "  %s\n", visible(key))
	}
	switch {
	case len(keys) <= shownKeys:
		return d.p.agreed(fmt.Sprintf("delete these %d keys?", len(keys)))
	case d.all:
		fmt.Fprintln(d.p.stderr, "  …")
		return d.p.agreed("delete every key?")
	}
	fmt.Fprintln(d.p.stderr, "  …")
	return d.p.agreed(fmt.Sprintf("delete every key that begins with %q?", d.prefix))
}

// agreed asks a question. No answer is no.
func (p *program) agreed(question string) bool {
	fmt.Fprintf(p.stderr, "%s [y/N] ", question)
	answer, _ := bufio.NewReader(p.stdin).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

// deleteAll deletes the keys that begin with prefix, all for none, and calls done after each step with how many.
func (c *client) deleteAll(ctx context.Context, prefix string, done func(n int64)) error {
	for after := ""; ; {
		query := url.Values{"limit": {"1000"}}
		if prefix != "" {
			query.Set("prefix", prefix)
		} else {
			query.Set("all", "true")
		}
		if after != "" {
			query.Set("after", after)
		}
		step, err := c.deleteSome(ctx, query)
		if err != nil {
			return err
		}
		done(step.Deleted)
		if after = step.Next; after == "" {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// deletedStep is the answer of one step.
type deletedStep struct {
	Deleted int64  `json:"deleted"`
	Next    string `json:"next"`
}

func (c *client) deleteSome(ctx context.Context, query url.Values) (step deletedStep, err error) {
	resp, err := c.do(ctx, request{method: http.MethodDelete, path: "/v1/keys", query: query,
		header: http.Header{"Accept": {"application/json"}}, proof: "application/json", repeatable: true, finish: true})
	if err != nil {
		return step, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&step); err != nil {
		return step, fmt.Errorf("read the answer: %w", err)
	}
	return step, nil
}
