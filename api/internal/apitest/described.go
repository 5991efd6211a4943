package apitest

import (
	"bytes"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

var description = sync.OnceValues(func() (*openapi3.T, error) {
	w := httptest.NewRecorder()
	NewBroken(nil).ServeHTTP(w, httptest.NewRequest("GET", "/openapi.yaml", nil))
	doc, err := openapi3.NewLoader().LoadFromData(w.Body.Bytes())
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(openapi3.NewLoader().Context)
})

// Description returns the contents of openapi.yaml.
func Description(t testing.TB) *openapi3.T {
	t.Helper()
	doc, err := description()
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	return doc
}

// Operations returns the described operations of a path by their methods. OpenAPI has no place for methods such as LOCK: the
// extension x-aliases of a path names the operations that take their place.
func Operations(doc *openapi3.T, path string) map[string]*openapi3.Operation {
	item := doc.Paths.Value(path)
	operations := item.Operations()
	aliases, _ := item.Extensions["x-aliases"].(map[string]any)
	for method, alias := range aliases {
		of, at, _ := strings.Cut(alias.(string), " ")
		operations[method] = doc.Paths.Value(at).GetOperation(of)
	}
	return operations
}

// checkDescribed validates an answer, and an accepted request, against openapi.yaml.
func (n *Node) checkDescribed(t testing.TB, r *http.Request, w *httptest.ResponseRecorder) {
	t.Helper()
	doc := Description(t)
	name := routeOf(doc, r.URL.EscapedPath())
	item := doc.Paths.Value(name)
	if item == nil || Operations(doc, name)[r.Method] == nil {
		return // nothing is there, or a 405
	}
	request := &openapi3filter.RequestValidationInput{
		Request:    r,
		PathParams: map[string]string{},
		Route:      &routers.Route{Spec: doc, Path: name, PathItem: item, Method: r.Method, Operation: Operations(doc, name)[r.Method]},
		Options:    &openapi3filter.Options{ExcludeRequestBody: true, IncludeResponseStatus: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}
	maps.Copy(request.PathParams, pathParams(name, r.URL.EscapedPath()))
	if request.PathParams["path"] == "" {
		request.PathParams["path"] = "/" // a description cannot have an empty path parameter, such as the root directory of files
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

// pathParams returns the variables of a described path, decoded, if the path has a segment for each of the description.
func pathParams(name, path string) map[string]string {
	parts, segments := strings.Split(name, "/"), strings.Split(path, "/")
	at := slices.IndexFunc(parts, func(part string) bool { return strings.HasPrefix(part, "{") })
	if more := len(segments) - len(parts); more > 0 && strings.Count(name, "{") == 1 && !strings.HasPrefix(name, "/v1/accounts/") {
		whole := strings.Join(segments[at:at+more+1], "/") // the variable holds slashes
		segments = append(append(segments[:at:at], whole), segments[at+more+1:]...)
	}
	if len(parts) != len(segments) {
		return nil
	}
	params := make(map[string]string)
	for i, part := range parts {
		variable, isVariable := strings.CutPrefix(part, "{")
		decoded, err := url.PathUnescape(segments[i])
		switch {
		case !isVariable && part != segments[i], err != nil, isVariable && decoded == "":
			return nil
		case isVariable:
			params[strings.TrimSuffix(variable, "}")] = decoded
		}
	}
	return params
}

// routeOf returns the described path that a request's path belongs to; "" if there is none.
func routeOf(doc *openapi3.T, path string) string {
	if doc.Paths.Value(path) != nil {
		return path
	}
	found := "" // with the most segments: /v1/terraform/{name}/lock is no state
	for name := range doc.Paths.Map() {
		if strings.Contains(name, "{") && pathParams(name, path) != nil && strings.Count(name, "/") > strings.Count(found, "/") {
			found = name
		}
	}
	return found
}
