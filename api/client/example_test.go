package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/runnelkv/runnel/api/client"
)

// exampleClient returns a client of a server that stop ends.
func exampleClient() (c *client.Client, stop func()) {
	server, stop := startServer()
	c, err := client.New(server.URL, client.Options{Session: client.NewSession("")})
	if err != nil {
		log.Fatal(err)
	}
	return c, stop
}

func Example() {
	c, stop := exampleClient()
	defer stop()
	ctx := context.Background()
	if _, err := c.Put(ctx, "greeting", []byte("hello"), client.PutOptions{ContentType: "text/plain"}); err != nil {
		log.Fatal(err)
	}
	entry, err := c.Get(ctx, "greeting", client.ReadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s is %s\n", entry.Key, entry.Value)
	_, err = c.Get(ctx, "nothing", client.ReadOptions{})
	fmt.Println(errors.Is(err, client.ErrNotFound))
	// Output:
	// greeting is hello
	// true
}

// A counter is incremented by reading it and storing the sum if nobody else has written meanwhile.
func ExampleClient_Put_conditions() {
	c, stop := exampleClient()
	defer stop()
	ctx := context.Background()
	increment := func() error {
		for {
			n, only := 0, client.Conditions{IfNoneMatch: "*"}
			entry, err := c.Get(ctx, "counter", client.ReadOptions{Consistency: client.Master})
			if err == nil {
				only = client.Conditions{IfMatch: entry.ETag}
				_, err = fmt.Sscan(string(entry.Value), &n)
			}
			if err != nil && !errors.Is(err, client.ErrNotFound) {
				return err
			}
			_, err = c.Put(ctx, "counter", fmt.Append(nil, n+1), client.PutOptions{If: only})
			if !errors.Is(err, client.ErrPreconditionFailed) {
				return err
			}
		}
	}
	for range 3 {
		if err := increment(); err != nil {
			log.Fatal(err)
		}
	}
	entry, err := c.Get(ctx, "counter", client.ReadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(entry.Value))
	// Output: 3
}

func ExampleClient_List() {
	c, stop := exampleClient()
	defer stop()
	ctx := context.Background()
	var operations []client.Operation
	for _, key := range []string{"photos/2026/a.jpg", "photos/2026/b.jpg", "photos/index.html"} {
		operations = append(operations, client.PutOp(key, nil, client.PutOptions{}))
	}
	results, err := c.Batch(ctx, operations, client.ReadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for i, r := range results {
		if r.Err != nil {
			log.Fatal(operations[i].Key, r.Err)
		}
	}
	for item, err := range c.List(ctx, client.ListOptions{Prefix: "photos/", Delimiter: "/"}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(item.Key, item.IsPrefix())
	}
	// Output:
	// photos/2026/ true
	// photos/index.html false
}

// A transaction moves a value from one key to another. Keys with the same {tag} have one master.
func ExampleClient_Txn() {
	c, stop := exampleClient()
	defer stop()
	ctx := context.Background()
	put, err := c.Put(ctx, "{cart7}/open", []byte("3 apples"), client.PutOptions{})
	if err != nil {
		log.Fatal(err)
	}
	result, err := c.Txn(ctx, client.Txn{
		If: []client.TxnCondition{{Key: "{cart7}/open", ETag: put.ETag}, {Key: "{cart7}/paid", Absent: true}},
		Then: []client.Operation{
			client.DeleteOp("{cart7}/open", client.Conditions{}),
			client.PutOp("{cart7}/paid", []byte("3 apples"), client.PutOptions{}),
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Succeeded)
	// Output: true
}

// Keep the token of each change after processing the change, and start from the token next time.
func ExampleClient_Watch() {
	c, stop := exampleClient()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := c.Put(ctx, "orders/1", []byte("3 apples"), client.PutOptions{}); err != nil {
		log.Fatal(err)
	}
	for change, err := range c.Watch(ctx, client.WatchOptions{Prefix: "orders/", Values: true}) {
		if err != nil {
			log.Fatal(err)
		}
		if change.Key == "" || change.Deleted {
			continue
		}
		entry, err := change.Entry()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Fprintf(os.Stdout, "%s: %s\n", change.Key, entry.Value)
		break
	}
	// Output: orders/1: 3 apples
}
