package api_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/api/internal/apitest"
)

func TestOpenAPIDescribesEveryRoute(t *testing.T) {
	n := apitest.New(t)
	routes := n.Routes()
	for _, methods := range routes {
		slices.Sort(methods)
	}
	described := map[string][]string{}
	doc := apitest.Description(t)
	for path := range doc.Paths.Map() {
		for method := range apitest.Operations(doc, path) {
			described[path] = append(described[path], method)
		}
		slices.Sort(described[path])
	}
	if diff := cmp.Diff(routes, described); diff != "" {
		t.Errorf("routes (-) against openapi.yaml (+):\n%s", diff)
	}
}
