package browser

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/test/runnel"
)

// application is a page that uses a server with a key, and then reports what it could do, a line for each request.
const application = `<!doctype html><script>
const server = %q, key = %q, name = %q, lines = [];
const step = async (what, path, options, fields) => {
	try {
		const r = await fetch(server + path, {...options, headers: {Authorization: key, ...options.headers}});
		const type = r.status >= 400 ? (await r.json()).type : await r.text();
		lines.push([what, r.status, type, ...fields.map(f => r.headers.has(f) ? f : "no " + f)].join(" "));
		return r.headers.get("ETag");
	} catch (e) { lines.push(what + " " + e.name) }
};
(async () => {
	const path = "/v1/keys/" + name;
	const tag = await step("put", path, {method: "PUT", body: "1", headers: {"If-None-Match": "*", "Runnel-Meta-By": "page"}}, ["Location", "Runnel-Session", "X-Request-Id"]);
	await step("get", path + "?consistency=master", {}, ["ETag", "Runnel-Meta-By", "Runnel-Revision"]);
	await step("replace", path, {method: "PUT", body: "2", headers: {"If-Match": tag}}, ["ETag"]);
	await step("stale", path, {method: "PUT", body: "3", headers: {"If-Match": tag}}, []);
	await step("missing", path + "/none?consistency=master", {}, []);
	await step("no key", path, {headers: {Authorization: "Bearer false"}}, []);
	await step("cookies", path, {credentials: "include"}, []);
	await step("batch", "/v1/batch", {method: "POST", body: JSON.stringify([{op: "put", key: name + "-kept", value: "1"}]), headers: {"Content-Type": "application/json", Prefer: "return=minimal"}}, []);
	await step("delete", path, {method: "DELETE"}, ["Runnel-Session"]);
	await fetch("/report", {method: "POST", body: lines.join("\n")});
})();
</script>`

// newApplication returns a server of the page, and the reports of its visits.
func newApplication(t *testing.T, page func() string) (*httptest.Server, chan string) {
	reports := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var report strings.Builder
		switch r.URL.Path {
		case "/":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, page())
		case "/report":
			r.Write(&report)
			_, lines, _ := strings.Cut(report.String(), "\r\n\r\n")
			reports <- lines
		}
	}))
	t.Cleanup(s.Close)
	return s, reports
}

// TestOnlyPagesOfAllowedOriginsUseAKey runs a page with a valid key from an allowed origin, and from others.
func TestOnlyPagesOfAllowedOriginsUseAKey(t *testing.T) {
	var p *runnel.Process
	var key, name string
	page := func() string { return fmt.Sprintf(application, p.URL, "Bearer "+key, name) }
	allowed, reports := newApplication(t, page)
	other, otherReports := newApplication(t, page)
	file := runnel.WriteConfig(t, fmt.Sprintf("[http]\ncors_origins = [%q]\n", allowed.URL), runnel.ThreeFiles(t)...)
	out, err := runnel.Run(t, "key", "create", "page", "--role", "write", "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	key, p = strings.TrimSpace(out), runnel.Serve(t, "--config", file)
	tab := open(t)
	visitPage := func(url string, reports chan string) string {
		visit(t, tab, url)
		select {
		case report := <-reports:
			return report
		case <-time.After(perPage):
			t.Fatalf("%s reports nothing", url)
			return ""
		}
	}
	name = "allowed"
	want := []string{
		"put 201  Location Runnel-Session X-Request-Id",
		"get 200 1 ETag Runnel-Meta-By Runnel-Revision",
		"replace 204  ETag",
		"stale 412 /problems/precondition-failed",
		"missing 404 /problems/not-found",
		"no key 401 /problems/unauthenticated",
		"cookies TypeError", // browsers keep answers to requests with cookies from the page
		`batch 200 {"results":[],"done":1,"refused":0}` + "\n",
		"delete 204  Runnel-Session",
	}
	if diff := cmp.Diff(strings.Join(want, "\n"), visitPage(allowed.URL, reports)); diff != "" {
		t.Errorf("an allowed page (-want +got):\n%s", diff)
	}
	name = "other"
	for _, url := range []string{other.URL, strings.Replace(allowed.URL, "127.0.0.1", "localhost", 1)} {
		reports := reports
		if url == other.URL {
			reports = otherReports
		}
		report := visitPage(url, reports)
		if strings.Count(report, " TypeError") != len(want) {
			t.Errorf("a page of %s could use the key:\n%s", url, report)
		}
	}
	r, err := http.NewRequest("GET", p.URL+"/v1/keys?consistency=master", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Accept", "text/plain")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if names, err := io.ReadAll(answer.Body); err != nil || string(names) != "allowed-kept\n" {
		t.Errorf("the keys %q are left, %v", names, err)
	}
}
