package api

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
)

var description = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openAPI)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(openapi3.NewLoader().Context)
})

func describe(t testing.TB) *openapi3.T {
	t.Helper()
	doc, err := description()
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	return doc
}

func TestOpenAPIDescribesEveryRoute(t *testing.T) {
	n := newNode(t)
	routes := map[string][]string{}
	err := n.router.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		for method := range route.GetHandler().(*resource).methods {
			routes[route.GetName()] = append(routes[route.GetName()], method)
		}
		slices.Sort(routes[route.GetName()])
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	described := map[string][]string{}
	for path, item := range describe(t).Paths.Map() {
		for method := range item.Operations() {
			described[path] = append(described[path], method)
		}
		slices.Sort(described[path])
	}
	if diff := cmp.Diff(routes, described); diff != "" {
		t.Errorf("routes (-) against openapi.yaml (+):\n%s", diff)
	}
}

// checkDescribed validates an answer, and an accepted request, against openapi.yaml.
func (n *node) checkDescribed(t testing.TB, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	var match mux.RouteMatch
	if !n.router.Match(r, &match) || match.Route == nil {
		return // nothing is there
	}
	name := match.Route.GetName()
	doc := describe(t)
	item := doc.Paths.Value(name)
	if item == nil || item.GetOperation(r.Method) == nil {
		return // covered by TestOpenAPIDescribesEveryRoute, or a 405
	}
	request := &openapi3filter.RequestValidationInput{
		Request:    r,
		PathParams: map[string]string{},
		Route:      &routers.Route{Spec: doc, Path: name, PathItem: item, Method: r.Method, Operation: item.GetOperation(r.Method)},
		Options:    &openapi3filter.Options{ExcludeRequestBody: true, IncludeResponseStatus: true},
	}
	if prefix, variable, ok := strings.Cut(name, "{"); ok {
		request.PathParams[strings.TrimSuffix(variable, "}")] = strings.TrimPrefix(r.URL.Path, prefix)
	}
	if w.Code < 400 {
		if err := openapi3filter.ValidateRequest(r.Context(), request); err != nil {
			t.Errorf("%s %s was answered %d, but openapi.yaml refuses it: %v", r.Method, r.URL, w.Code, err)
		}
	}
	checkResponse(t, request, w)
}

func checkResponse(t testing.TB, request *openapi3filter.RequestValidationInput, w *httptest.ResponseRecorder) {
	t.Helper()
	r := request.Request
	described := request.Route.Operation.Responses.Status(w.Code)
	if described == nil {
		t.Errorf("%s %s: openapi.yaml knows no answer %d", r.Method, r.URL, w.Code)
		return
	}
	mediaType, _, _ := mime.ParseMediaType(w.Header().Get("Content-Type"))
	content := described.Value.Content
	if (mediaType != "" || w.Body.Len() > 0) && content.Get(mediaType) == nil {
		t.Errorf("%s %s: openapi.yaml knows no %q in the answer %d", r.Method, r.URL, mediaType, w.Code)
	}
	options := *request.Options
	options.ExcludeResponseBody = r.Method == http.MethodHead || mediaType != "application/json" && mediaType != "application/problem+json"
	err := openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: request, Status: w.Code, Header: w.Header(),
		Body: io.NopCloser(bytes.NewReader(w.Body.Bytes())), Options: &options,
	})
	if err != nil {
		t.Errorf("%s %s: the answer %d is not as in openapi.yaml: %v", r.Method, r.URL, w.Code, err)
	}
}

// TestOpenAPIDescribesOperations: the server and openapi.yaml accept and refuse the same operations.
func TestOpenAPIDescribesOperations(t *testing.T) {
	n := newNode(t)
	schema := describe(t).Components.Schemas["Operation"].Value
	for op, ok := range map[string]bool{
		`{"op":"put","key":"k","value":"v"}`:                                                   true,
		`{"op":"put","key":"k","value_base64":"AP8=","content_type":"text/plain","ttl":"30s"}`: true,
		`{"op":"put","key":"k","value":"v","if_match":"*","metadata":{"a":"b"}}`:               true,
		`{"op":"delete","key":"k","if_none_match":"\"1\""}`:                                    true,
		`{"op":"get","key":"k"}`:                                                               true,
		`{"op":"get"}`:                                                                         false,
		`{"key":"k"}`:                                                                          false,
		`{"op":"list","key":"k"}`:                                                              false,
		`{"op":"get","key":7}`:                                                                 false,
		`{"op":"get","key":"k","revision":1}`:                                                  false,
		`{"op":"put","key":"k","value":{}}`:                                                    false,
		`{"op":"put","key":"k","value":"","metadata":{"a":1}}`:                                 false,
		`[]`: false,
	} {
		var document any
		if err := json.Unmarshal([]byte(op), &document); err != nil {
			t.Fatal(err)
		}
		described := schema.VisitJSON(document) == nil
		taken := forms["array"](n, t, op)[0].Status != http.StatusBadRequest
		if described != ok || taken != ok {
			t.Errorf("%s: described %v, taken %v, want %v", op, described, taken, ok)
		}
	}
}
