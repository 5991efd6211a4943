package main

import "net/url"

// requestTemplate is the request of a case for a system.
type requestTemplate struct {
	method, path, body string
	header             []string
	expect             []int
	sized              bool // the answer is as long as the value
	// A request of several keys has so many items, each written so, and counts this in the answer for each.
	items       int
	item, count string
	// optional cases may be missing in an older Runnel, and are then reported as not available. A missing required
	// case is an error.
	optional bool
}

const (
	keysPath   = "/v1/keys/{key}"
	batchItems = 1000 // in a request, as the issue asks
	keyPrefix  = "v100-"
)

var (
	written = []int{200, 201, 204}
	text    = []string{"Content-Type: text/plain"}
	ndjson  = []string{"Content-Type: application/x-ndjson", "Accept: application/x-ndjson"}
)

// httpTemplates are the requests of the ceiling and of plain.
func httpTemplates() map[string]requestTemplate {
	return map[string]requestTemplate{
		"get":    {method: "GET", path: keysPath, expect: []int{200}, sized: true},
		"put":    {method: "PUT", path: keysPath, body: "{value}", header: text, expect: written},
		"delete": {method: "DELETE", path: keysPath, expect: written},
	}
}

// runnelTemplates are the requests of Runnel. {session} stands for the token of a new write.
func runnelTemplates() map[string]requestTemplate {
	templates := httpTemplates()
	// Reads from a partition, past the cache.
	templates["get-stored"] = requestTemplate{method: "GET", path: keysPath + "?r=1", expect: []int{200}, sized: true}
	templates["get-master"] = requestTemplate{method: "GET", path: keysPath + "?consistency=master", expect: []int{200}, sized: true}
	templates["get-session"] = requestTemplate{method: "GET", path: keysPath, header: []string{"Runnel-Session: {session}"}, expect: []int{200}, sized: true, optional: true}
	templates["put-if-match"] = requestTemplate{method: "PUT", path: keysPath, body: "{value}", header: append([]string{"If-Match: {etag}"}, text...), expect: written}
	templates["list"] = requestTemplate{method: "GET", path: "/v1/keys?limit=100&prefix=" + url.QueryEscape(keyPrefix), expect: []int{200}}
	batch := requestTemplate{method: "POST", path: "/v1/batch", body: "{items}", header: ndjson, expect: []int{200}, items: batchItems, optional: true}
	batch.item, batch.count = `{"op":"get","key":"{key}"}`+"\n", `"status":200`
	templates["batch-get"] = batch
	batch.item, batch.count = `{"op":"put","key":"{key}","value":"{value}"}`+"\n", `"status":20`
	templates["batch-put"] = batch
	return templates
}

var webdisTemplates = map[string]requestTemplate{
	"get":    {method: "GET", path: "/GET/{key}.txt", expect: []int{200}, sized: true},
	"put":    {method: "PUT", path: "/SET/{key}", body: "{value}", expect: []int{200}},
	"delete": {method: "GET", path: "/DEL/{key}", expect: []int{200}},
}

// etcdTemplates read from the contacted member ("serializable"), which is the cheaper way and comparable to
// Runnel's reads from any partition.
var etcdTemplates = map[string]requestTemplate{
	"get":    {method: "POST", path: "/v3/kv/range", body: `{"key":"{key64}","serializable":true}`, expect: []int{200}},
	"put":    {method: "POST", path: "/v3/kv/put", body: `{"key":"{key64}","value":"{value64}"}`, expect: []int{200}},
	"delete": {method: "POST", path: "/v3/kv/deleterange", body: `{"key":"{key64}"}`, expect: []int{200}},
}
