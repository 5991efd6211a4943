package client

import (
	"context"
	"encoding/json"
	"net/http"
)

// TxnCondition is a condition of a transaction on a key. Exactly one of ETag, Absent and Exists is set.
type TxnCondition struct {
	Key    string `json:"key"`
	ETag   string `json:"etag,omitempty"` // the key has this ETag
	Absent bool   `json:"absent,omitempty"`
	Exists bool   `json:"exists,omitempty"`
}

// Txn is a transaction: Then is done if all conditions hold, otherwise Else. All keys must have the same master; keys with
// the same {tag} in their names have. There may be at most 256 conditions and operations together.
type Txn struct {
	If   []TxnCondition `json:"if,omitempty"`
	Then []Operation    `json:"then,omitempty"`
	Else []Operation    `json:"else,omitempty"`
	// Fence of held locks, as in Conditions.
	Fence string `json:"-"`
}

// TxnResult is the outcome of a transaction.
type TxnResult struct {
	Succeeded bool     // the conditions held, so Then was done
	Results   []Result // of the operations that were done
	// Raw is the JSON that the server sent.
	Raw json.RawMessage
}

// Txn does a transaction, all or none. A transaction with an unknown outcome is not repeated. With ErrNotSecured the result is
// set too.
func (c *Client) Txn(ctx context.Context, t Txn) (*TxnResult, error) {
	document, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	return c.sendTxn(ctx, Bytes(document), t.Fence)
}

// TxnJSON does the transaction that a JSON document describes, as docs/http.md has it.
func (c *Client) TxnJSON(ctx context.Context, document Body) (*TxnResult, error) {
	return c.sendTxn(ctx, document, "")
}

func (c *Client) sendTxn(ctx context.Context, document Body, fence string) (*TxnResult, error) {
	header := http.Header{"Content-Type": {mediaJSON}}
	Conditions{Fence: fence}.addTo(header)
	var response struct {
		Succeeded bool         `json:"succeeded"`
		Results   []resultLine `json:"results"`
	}
	q := request{
		method: http.MethodPost, path: "/v1/txn", header: header, body: document, accept: mediaJSON,
		success: []int{http.StatusOK, http.StatusAccepted}, isWrite: true, securable: true,
	}
	resp, err := c.send(ctx, q)
	if err != nil {
		return nil, err
	}
	raw, err := readJSON(resp, q, &response)
	if err != nil {
		return nil, err
	}
	r := &TxnResult{Succeeded: response.Succeeded, Raw: raw}
	for _, line := range response.Results {
		r.Results = append(r.Results, line.result())
	}
	return r, notSecured(resp)
}
