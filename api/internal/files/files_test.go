package files_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store/file"
)

const chunk = file.MinChunkBytes

func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
	return b
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

func want(t *testing.T, w *httptest.ResponseRecorder, status int) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("%d and not %d: %.300s", w.Code, status, w.Body)
	}
}

// master makes a read see the latest write.
const master = "?consistency=master"

func TestFilesGoUpAndDown(t *testing.T) {
	n := apitest.New(t)
	for i, size := range []int{0, 1, file.InlineBytes, chunk + 1, 3*chunk + 5} {
		content := random(size, uint64(i))
		path := fmt.Sprint("/v1/files/dir/", size)
		w := n.Do(t, "PUT", path, string(content), "Content-Type", "text/plain", "Runnel-Meta-Color", "red", "Repr-Digest", digestOf(content))
		want(t, w, 202) // the replicas of this server are not filled
		if w.Header().Get("Repr-Digest") != digestOf(content) || w.Header().Get("Location") != path || w.Header().Get("Runnel-Copies") != "1" {
			t.Errorf("PUT of %d bytes: %v", size, w.Header())
		}
		tag := w.Header().Get("Etag")
		for _, method := range []string{"GET", "HEAD"} {
			w = n.Do(t, method, path+master, "")
			want(t, w, 200)
			h := w.Header()
			if h.Get("Content-Length") != fmt.Sprint(size) || h.Get("Etag") != tag || h.Get("Repr-Digest") != digestOf(content) || h.Get("Content-Type") != "text/plain" ||
				h.Get("Runnel-Meta-Color") != "red" || h.Get("Accept-Ranges") != "bytes" || h.Get("Content-Security-Policy") == "" {
				t.Errorf("%s of %d bytes: %v", method, size, h)
			}
			if method == "GET" && !bytes.Equal(w.Body.Bytes(), content) {
				t.Errorf("GET of %d bytes: %d others", size, w.Body.Len())
			}
		}
		want(t, n.Do(t, "GET", path+master, "", "If-None-Match", tag), 304)
		want(t, n.Do(t, "GET", path+master, "", "If-Match", `"1"`), 412)
		want(t, n.Do(t, "PUT", path, "x", "If-None-Match", "*"), 412)
		want(t, n.Do(t, "DELETE", path, "", "If-Match", `"1"`), 412)
		want(t, n.Do(t, "DELETE", path, "", "If-Match", tag), 204)
		want(t, n.Do(t, "GET", path+master, ""), 404)
		want(t, n.Do(t, "DELETE", path, ""), 404)
	}
}

func TestRefusedUploadsChangeNothing(t *testing.T) {
	n := apitest.New(t)
	content := string(random(2*chunk, 1))
	want(t, n.Do(t, "PUT", "/v1/files/f", content), 202)
	for name, c := range map[string]struct {
		status  int
		target  string
		headers []string
	}{
		"another digest":    {400, "/v1/files/f", []string{"Repr-Digest", digestOf([]byte("other"))}},
		"another sha-512":   {400, "/v1/files/f", []string{"Content-Digest", "sha-512=:AAAA:"}},
		"another MD5":       {400, "/v1/files/f", []string{"Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA=="}},
		"a broken digest":   {400, "/v1/files/f", []string{"Repr-Digest", "sha-256=7"}},
		"a broken MD5":      {400, "/v1/files/f", []string{"Content-MD5", "AAAA"}},
		"a content coding":  {415, "/v1/files/f", []string{"Content-Encoding", "gzip"}},
		"a part":            {400, "/v1/files/f", []string{"Content-Range", "bytes 0-1/2"}},
		"a broken tag":      {400, "/v1/files/f", []string{"If-Match", "x"}},
		"a false condition": {412, "/v1/files/f", []string{"If-Match", `"1"`}},
		"too many copies":   {400, "/v1/files/f?copies=4", nil},
		"no copies":         {400, "/v1/files/f?copies=0", nil},
		"a directory":       {400, "/v1/files/f/", nil},
		"no name":           {400, "/v1/files/", nil},
		"a control":         {400, "/v1/files/a%01b", nil},
		"a parameter":       {400, "/v1/files/f?ttl=1s", nil},
		"too long":          {400, "/v1/files/" + strings.Repeat("x", 513), nil},
	} {
		if w := n.Do(t, "PUT", c.target, "new", c.headers...); w.Code != c.status {
			t.Errorf("%s: %d and not %d: %s", name, w.Code, c.status, w.Body)
		}
	}
	if w := n.Do(t, "GET", "/v1/files/f"+master, ""); w.Body.String() != content {
		t.Errorf("the file has changed: %d", w.Code)
	}
	r := httptest.NewRequest("PUT", "/v1/files/f", io.MultiReader(strings.NewReader("short"), errReader{}))
	r.Host = "localhost"
	w := httptest.NewRecorder()
	n.ServeHTTP(w, r)
	if w.Code != 400 || n.Do(t, "GET", "/v1/files/f"+master, "").Body.String() != content {
		t.Errorf("a body that breaks off: %d %s", w.Code, w.Body)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestNamesOfFilesAreDecodedOnce(t *testing.T) {
	n := apitest.New(t)
	for path, name := range map[string]string{
		"/v1/files/%C3%BC/%E4%B8%96":  "ü/世",
		"/v1/files/a%20b%2Fc":         "a b/c",
		"/v1/files/a%2F..%2F..%2Fb":   "a/../../b",
		"/v1/files/a//b":              "a//b",
		"/v1/files/%25%32%46":         "%2F",
		"/v1/files/x%2Fverify%2Fmore": "x/verify/more",
	} {
		want(t, n.Do(t, "PUT", path, name), 202)
		if w := n.Do(t, "GET", wire.Path(wire.FilesPath, name)+master, ""); w.Body.String() != name {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	var page wire.FilePage
	w := n.Do(t, "GET", "/v1/files/"+master+"&delimiter=", "")
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || len(page.Files) != 6 {
		t.Errorf("%v: %s", err, w.Body)
	}
}

func TestRangesFollowRFC9110(t *testing.T) {
	n := apitest.New(t)
	content := random(2*chunk+9, 1)
	size := int64(len(content))
	tag := n.Do(t, "PUT", "/v1/files/f", string(content), "Content-Type", "text/plain").Header().Get("Etag")
	for given, c := range map[string]struct {
		status      int
		first, last int64
	}{
		"bytes=0-0": {206, 0, 0}, "bytes=0-": {206, 0, size - 1}, "bytes=-5": {206, size - 5, size - 1}, "bytes=5-3": {200, 0, size - 1},
		"bytes=65535-65536": {206, 65535, 65536}, "bytes=65536-65536": {206, 65536, 65536}, "bytes=0-999999999": {206, 0, size - 1},
		"bytes=-999999999": {206, 0, size - 1}, "bytes=-0": {416, 0, 0}, "bytes=999999999-": {416, 0, 0}, "bytes=a-b": {200, 0, size - 1},
		"lines=1-2": {200, 0, size - 1}, "bytes=": {200, 0, size - 1}, "bytes=131081-": {416, 0, 0}, "bytes=131080-": {206, 131080, 131080},
	} {
		w := n.Do(t, "GET", "/v1/files/f"+master, "", "Range", given)
		if w.Code != c.status {
			t.Errorf("%s: %d and not %d", given, w.Code, c.status)
			continue
		}
		switch h := w.Header().Get("Content-Range"); {
		case c.status == 416 && h != fmt.Sprintf("bytes */%d", size):
			t.Errorf("%s: Content-Range %q", given, h)
		case c.status == 206 && h != fmt.Sprintf("bytes %d-%d/%d", c.first, c.last, size):
			t.Errorf("%s: Content-Range %q", given, h)
		case c.status != 416 && !bytes.Equal(w.Body.Bytes(), content[c.first:c.last+1]):
			t.Errorf("%s: %d other bytes", given, w.Body.Len())
		}
	}
	want(t, n.Do(t, "GET", "/v1/files/f"+master, "", "Range", "bytes=0-0", "If-Range", tag), 206)
	want(t, n.Do(t, "GET", "/v1/files/f"+master, "", "Range", "bytes=0-0", "If-Range", `"1"`), 200)
	want(t, n.Do(t, "GET", "/v1/files/f"+master, "", "Range", "bytes=0-0", "If-Range", "Sun, 06 Nov 1994 08:49:37 GMT"), 200)
	want(t, n.Do(t, "HEAD", "/v1/files/f"+master, "", "Range", "bytes=0-0"), 200)

	w := n.Do(t, "GET", "/v1/files/f"+master, "", "Range", "bytes=1-3, 65530-65540,-2")
	want(t, w, 206)
	_, params, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	if err != nil || w.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) {
		t.Fatal(err, w.Header(), w.Body.Len())
	}
	parts := multipart.NewReader(w.Body, params["boundary"])
	for _, span := range [][2]int64{{1, 3}, {65530, 65540}, {size - 2, size - 1}} {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(part)
		if err != nil || !bytes.Equal(got, content[span[0]:span[1]+1]) || part.Header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", span[0], span[1], size) {
			t.Errorf("the part %v: %d bytes, %v, %v", span, len(got), part.Header, err)
		}
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Errorf("after the parts: %v", err)
	}
}

func TestDirectoriesAreListedInPages(t *testing.T) {
	n := apitest.New(t)
	for i := range 7 {
		want(t, n.Do(t, "PUT", fmt.Sprint("/v1/files/a/", i), strings.Repeat("x", i)), 202)
	}
	want(t, n.Do(t, "PUT", "/v1/files/a/sub/x", "x"), 202)
	want(t, n.Do(t, "PUT", "/v1/files/b", "x"), 202)
	var names []string
	for target := "/v1/files/a/?limit=3&consistency=master"; target != ""; {
		w := n.Do(t, "GET", target, "")
		want(t, w, 200)
		var page wire.FilePage
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
			t.Fatal(err)
		}
		for _, f := range page.Files {
			names = append(names, fmt.Sprint(f.Path, " ", f.Size))
		}
		for _, p := range page.Prefixes {
			names = append(names, string(p))
		}
		target, _, _ = strings.Cut(strings.TrimPrefix(w.Header().Get("Link"), "<"), ">")
	}
	if got := strings.Join(names, ","); got != "a/0 0,a/1 1,a/2 2,a/3 3,a/4 4,a/5 5,a/6 6,a/sub/" {
		t.Errorf("listed %s", got)
	}
	for _, accept := range []string{"text/html", "text/plain", "application/xml"} {
		if w := n.Do(t, "GET", "/v1/files/"+master, "", "Accept", accept); w.Code != 200 || !strings.Contains(w.Body.String(), "a/") || !strings.Contains(w.Body.String(), "b") {
			t.Errorf("%s: %d %s", accept, w.Code, w.Body)
		}
	}
	want(t, n.Do(t, "GET", "/v1/files/a/?manifest", ""), 400)
	want(t, n.Do(t, "GET", "/v1/files/a/?after=x", ""), 400)
	want(t, n.Do(t, "GET", "/v1/files/b?prefix=x", ""), 400)
}

func TestFormsStoreTheirFiles(t *testing.T) {
	n := apitest.New(t)
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	field, _ := form.CreateFormField("comment")
	field.Write([]byte("no file"))
	long := strings.Repeat("x", 600)
	contents := map[string][]byte{"one": random(5, 1), "two": random(2*chunk, 2), long: nil}
	for _, name := range []string{"one", long, "two"} {
		part, _ := form.CreateFormFile("file", name)
		part.Write(contents[name])
	}
	form.Close()
	w := n.Do(t, "POST", "/v1/files/dir/", b.String(), "Content-Type", form.FormDataContentType())
	want(t, w, 201)
	var stored wire.StoredFiles
	if err := json.Unmarshal(w.Body.Bytes(), &stored); err != nil || len(stored.Files) != 3 {
		t.Fatalf("%v: %s", err, w.Body)
	}
	for i, status := range []int{201, 400, 201} {
		f := stored.Files[i]
		if f.Status != status || (f.Problem != nil) != (status == 400) {
			t.Errorf("%s: %+v", f.Path, f)
		}
	}
	for _, name := range []string{"one", "two"} {
		if w := n.Do(t, "GET", "/v1/files/dir/"+name+master, ""); !bytes.Equal(w.Body.Bytes(), contents[name]) {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	want(t, n.Do(t, "POST", "/v1/files/dir/", "x", "Content-Type", "text/plain"), 415)
	want(t, n.Do(t, "POST", "/v1/files/dir/f", "x"), 404)
}

func TestManifestChunksCopyAndVerify(t *testing.T) {
	n := apitest.New(t)
	content := random(2*file.DefaultChunkBytes+9, 1)
	want(t, n.Do(t, "PUT", "/v1/files/f?copies=3", string(content)), 202)
	var m wire.FileManifest
	w := n.Do(t, "GET", "/v1/files/f?manifest&consistency=master", "")
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || m.Total != 3 || len(m.Chunks) != 3 || m.Copies != 3 || len(m.Chunks[2].Partitions) != 3 || m.Chunks[2].Size != 9 {
		t.Fatalf("%v: %s", err, w.Body)
	}
	w = n.Do(t, "GET", "/v1/files/f?manifest&consistency=master&limit=1&after=0", "")
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || len(m.Chunks) != 1 || m.Chunks[0].Index != 1 || m.Next != 1 {
		t.Errorf("%v: %s", err, w.Body)
	}
	if w := n.Do(t, "GET", "/v1/files/f?chunk=2&consistency=master", ""); !bytes.Equal(w.Body.Bytes(), content[2*file.DefaultChunkBytes:]) {
		t.Errorf("a chunk: %d %d bytes", w.Code, w.Body.Len())
	}
	want(t, n.Do(t, "GET", "/v1/files/f?chunk=3&consistency=master", ""), 400)
	want(t, n.Do(t, "GET", "/v1/files/f?chunk=x", ""), 400)

	want(t, n.Do(t, "POST", "/v1/files/f/copy?to=g", ""), 202)
	want(t, n.Do(t, "POST", "/v1/files/f/copy?to=g", "", "If-None-Match", "*"), 412)
	want(t, n.Do(t, "POST", "/v1/files/f/copy", ""), 400)
	want(t, n.Do(t, "POST", "/v1/files/none/copy?to=g", ""), 404)
	if w := n.Do(t, "GET", "/v1/files/g"+master, ""); !bytes.Equal(w.Body.Bytes(), content) {
		t.Errorf("the copy: %d", w.Code)
	}
	infos, err := n.Partitions[1].ListChunks(t.Context(), nil, 10)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Partitions[1].PutChunk(t.Context(), infos[0].Hash, []byte("damage")); err != nil {
		t.Fatal(err)
	}
	var v wire.FileVerification
	w = n.Do(t, "POST", "/v1/files/f/verify", "")
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || v.Damaged != 1 || v.Repaired != 1 || !v.Clean {
		t.Errorf("%v: %s", err, w.Body)
	}
	for _, p := range n.Partitions {
		for _, info := range infos {
			if err := p.PutChunk(t.Context(), info.Hash, []byte("damage")); err != nil {
				t.Fatal(err)
			}
		}
	}
	want(t, n.Do(t, "GET", "/v1/files/f"+master, ""), 503)
}

func TestServerWithoutFilesRefusesThem(t *testing.T) {
	n := apitest.NewBroken(nil)
	for _, c := range [][2]string{{"GET", "/v1/files/"}, {"GET", "/v1/files/f"}, {"PUT", "/v1/files/f"}, {"POST", "/v1/files/d/"}, {"DELETE", "/v1/files/f"}} {
		if w := n.Do(t, c[0], c[1], ""); w.Code != http.StatusNotFound {
			t.Errorf("%v: %d", c, w.Code)
		}
	}
}
