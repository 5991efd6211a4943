package testbed

import "net/url"

// RequestTemplate is the request of a case for a system.
type RequestTemplate struct {
	Method, Path, Body string
	Header             []string
	Expect             []int
	Sized              bool // the answer is as long as the value
	// A request of several keys has so many items, each written so, and counts this in the answer for each.
	Items       int
	Item, Count string
	// Optional cases may be missing in an older Runnel, and are then reported as not available. A missing required
	// case is an error.
	Optional bool
}

const (
	keysPath   = "/v1/keys/{key}"
	batchItems = 1000 // in a request
	// KeyPrefix begins the keys of values of 100 bytes.
	KeyPrefix = "v100-"
)

var (
	written = []int{200, 201, 204}
	text    = []string{"Content-Type: text/plain"}
	ndjson  = []string{"Content-Type: application/x-ndjson", "Accept: application/x-ndjson"}
)

// HTTPTemplates are the requests of the ceiling and of plain.
func HTTPTemplates() map[string]RequestTemplate {
	return map[string]RequestTemplate{
		"get":    {Method: "GET", Path: keysPath, Expect: []int{200}, Sized: true},
		"put":    {Method: "PUT", Path: keysPath, Body: "{value}", Header: text, Expect: written},
		"delete": {Method: "DELETE", Path: keysPath, Expect: written},
	}
}

// RunnelTemplates are the requests of Runnel. {session} stands for the token of a new write.
func RunnelTemplates() map[string]RequestTemplate {
	templates := HTTPTemplates()
	// Reads from a partition, past the cache.
	templates["get-stored"] = RequestTemplate{Method: "GET", Path: keysPath + "?r=1", Expect: []int{200}, Sized: true}
	templates["get-master"] = RequestTemplate{Method: "GET", Path: keysPath + "?consistency=master", Expect: []int{200}, Sized: true}
	templates["get-session"] = RequestTemplate{Method: "GET", Path: keysPath, Header: []string{"Runnel-Session: {session}"}, Expect: []int{200}, Sized: true, Optional: true}
	templates["put-if-match"] = RequestTemplate{Method: "PUT", Path: keysPath, Body: "{value}", Header: append([]string{"If-Match: {etag}"}, text...), Expect: written}
	templates["list"] = RequestTemplate{Method: "GET", Path: "/v1/keys?limit=100&prefix=" + url.QueryEscape(KeyPrefix), Expect: []int{200}}
	batch := RequestTemplate{Method: "POST", Path: "/v1/batch", Body: "{items}", Header: ndjson, Expect: []int{200}, Items: batchItems, Optional: true}
	batch.Item, batch.Count = `{"op":"get","key":"{key}"}`+"\n", `"status":200`
	templates["batch-get"] = batch
	batch.Item, batch.Count = `{"op":"put","key":"{key}","value":"{value}"}`+"\n", `"status":20`
	templates["batch-put"] = batch
	return templates
}

// WebdisTemplates are the requests of webdis.
var WebdisTemplates = map[string]RequestTemplate{
	"get":    {Method: "GET", Path: "/GET/{key}.txt", Expect: []int{200}, Sized: true},
	"put":    {Method: "PUT", Path: "/SET/{key}", Body: "{value}", Expect: []int{200}},
	"delete": {Method: "GET", Path: "/DEL/{key}", Expect: []int{200}},
}

// EtcdTemplates read from the contacted member ("serializable"), which is the cheaper way and comparable to
// Runnel's reads from any partition.
var EtcdTemplates = map[string]RequestTemplate{
	"get":    {Method: "POST", Path: "/v3/kv/range", Body: `{"key":"{key64}","serializable":true}`, Expect: []int{200}},
	"put":    {Method: "POST", Path: "/v3/kv/put", Body: `{"key":"{key64}","value":"{value64}"}`, Expect: []int{200}},
	"delete": {Method: "POST", Path: "/v3/kv/deleterange", Body: `{"key":"{key64}"}`, Expect: []int{200}},
}
