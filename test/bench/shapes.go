package main

import "net/url"

// A shape is how a system writes a request of a case.
type shape struct {
	method, path, body string
	header             []string
	expect             []int
	sized              bool // the answer is as long as the value
	// A request of several keys has so many items, each written so, and counts this in the answer for each.
	items       int
	item, count string
	// optional: an older Runnel may lack it, which is then reported as not available. Of any other case it is an error.
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

// httpShapes are what the ceiling and the plain way take.
func httpShapes() map[string]shape {
	return map[string]shape{
		"get":    {method: "GET", path: keysPath, expect: []int{200}, sized: true},
		"put":    {method: "PUT", path: keysPath, body: "{value}", header: text, expect: written},
		"delete": {method: "DELETE", path: keysPath, expect: written},
	}
}

// runnelShapes are all of Runnel's cases. {session} is the token of a write just before.
func runnelShapes() map[string]shape {
	shapes := httpShapes()
	// From one partition, past the cache.
	shapes["get-stored"] = shape{method: "GET", path: keysPath + "?r=1", expect: []int{200}, sized: true}
	shapes["get-master"] = shape{method: "GET", path: keysPath + "?consistency=master", expect: []int{200}, sized: true}
	shapes["get-session"] = shape{method: "GET", path: keysPath, header: []string{"Runnel-Session: {session}"}, expect: []int{200}, sized: true, optional: true}
	shapes["put-if-match"] = shape{method: "PUT", path: keysPath, body: "{value}", header: append([]string{"If-Match: {etag}"}, text...), expect: written}
	shapes["list"] = shape{method: "GET", path: "/v1/keys?limit=100&prefix=" + url.QueryEscape(keyPrefix), expect: []int{200}}
	batch := shape{method: "POST", path: "/v1/batch", body: "{items}", header: ndjson, expect: []int{200}, items: batchItems, optional: true}
	batch.item, batch.count = `{"op":"get","key":"{key}"}`+"\n", `"status":200`
	shapes["batch-get"] = batch
	batch.item, batch.count = `{"op":"put","key":"{key}","value":"{value}"}`+"\n", `"status":20`
	shapes["batch-put"] = batch
	return shapes
}

var webdisShapes = map[string]shape{
	"get":    {method: "GET", path: "/GET/{key}.txt", expect: []int{200}, sized: true},
	"put":    {method: "PUT", path: "/SET/{key}", body: "{value}", expect: []int{200}},
	"delete": {method: "GET", path: "/DEL/{key}", expect: []int{200}},
}

// etcdShapes read from the member that is asked ("serializable"), as Runnel's any does: it is the cheaper way.
var etcdShapes = map[string]shape{
	"get":    {method: "POST", path: "/v3/kv/range", body: `{"key":"{key64}","serializable":true}`, expect: []int{200}},
	"put":    {method: "POST", path: "/v3/kv/put", body: `{"key":"{key64}","value":"{value64}"}`, expect: []int{200}},
	"delete": {method: "POST", path: "/v3/kv/deleterange", body: `{"key":"{key64}"}`, expect: []int{200}},
}
