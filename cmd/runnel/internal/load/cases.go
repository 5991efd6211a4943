package load

import (
	"net/url"
	"slices"
	"time"
)

// Case is a plan with a name.
type Case struct {
	Name string
	Plan Plan
}

// fillTimeout bounds the writing of all keys, and their removal.
const fillTimeout = 20 * time.Minute

// Cases returns the cases of 'runnel bench' in their order. All share base, which has an address, a prefix and bounds.
// The first case writes every key once, the last one removes the keys.
func Cases(base Plan) []Case {
	with := func(method, path, body string, bytes int64, headers ...string) Plan {
		p := base
		p.Method, p.Path, p.Body, p.BodyBytes = method, path, body, bytes
		p.Header = append(slices.Clip(base.Header), headers...)
		p.Expect = []int{200}
		if method != "GET" {
			p.Expect = []int{200, 201, 204}
		}
		return p
	}
	once := func(p Plan) Plan {
		p.Order, p.WarmupMS, p.DurationMS, p.Requests = "once", 0, int(fillTimeout.Milliseconds()), 0
		return p
	}
	const path = "/v1/keys/{key}"
	const text = "Content-Type: text/plain"
	size := int64(base.ValueBytes)
	batch := func(item, count string) Plan {
		p := with("POST", "/v1/batch", itemsHole, -1, "Content-Type: application/x-ndjson", "Accept: application/x-ndjson")
		p.Items, p.Item, p.Count = batchItems(base.ValueBytes), item+"\n", count
		p.Connections = (p.Connections + 7) / 8 // with all of them seconds of work would queue up
		return p
	}
	remove := once(with("DELETE", path, "", -1))
	remove.Expect = append(remove.Expect, 404) // the fill may have been interrupted
	return []Case{
		{"fill", once(with("PUT", path, "{value}", -1, text))},
		{"get", with("GET", path, "", size)},
		{"get-master", with("GET", path+"?consistency=master", "", size)},
		{"put", with("PUT", path, "{value}", -1, text)},
		{"put-if-match", with("PUT", path, "{value}", -1, text, "If-Match: {etag}")},
		{"batch-get", batch(`{"op":"get","key":"{key}"}`, `"status":200`)},
		{"batch-put", batch(`{"op":"put","key":"{key}","value":"{value}"}`, `"status":20`)},
		{"list", with("GET", "/v1/keys?limit=100&prefix="+url.QueryEscape(base.Prefix), "", -1)},
		{"delete", remove},
	}
}

// batchItems is how many values of a size a batch holds: at most 1,000, and at most 1 MiB of them.
func batchItems(valueBytes int) int { return min(1000, max(1, 1<<20/max(1, valueBytes))) }
