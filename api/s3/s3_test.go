package s3_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api/internal/budget"
	"github.com/runnelkv/runnel/api/s3"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/access"
	"github.com/runnelkv/runnel/store/file"
	"github.com/runnelkv/runnel/store/partition"
	"github.com/runnelkv/runnel/store/partition/memory"
)

// rig is a door over two memory partitions.
type rig struct {
	t    *testing.T
	door *s3.Door
}

func newRig(t *testing.T, keys s3.Keys) *rig {
	quiet := slog.New(slog.DiscardHandler)
	s, err := store.Open(store.Options{Partitions: []partition.Partition{memory.New("a"), memory.New("b")}, Poll: 5 * time.Millisecond, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, s.Close()); err != nil {
			t.Error(err)
		}
	})
	f, err := file.New(s, file.Options{ChunkBytes: file.MinChunkBytes, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, door: s3.New(s3.Options{Files: f, Store: s, Keys: keys, Secret: []byte(strings.Repeat("s", 32)), Domain: "s3.example.org", Logger: quiet, Budget: budget.New(1 << 30)})}
	for deadline := time.Now().Add(10 * time.Second); !s.Status().Partitions[0].Writable || s.Replicas()[1].Err != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never ready")
		}
	}
	return r
}

// do sends a request; headers are pairs of name and value.
func (r *rig) do(method, target string, body []byte, headers ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	q := httptest.NewRequest(method, target, bytes.NewReader(body))
	q.Header.Set("Content-Length", fmt.Sprint(len(body)))
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			q.Host = headers[i+1]
		}
		q.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	r.door.ServeHTTP(w, q)
	return w
}

func (r *rig) want(w *httptest.ResponseRecorder, status int) *httptest.ResponseRecorder {
	r.t.Helper()
	if w.Code != status {
		r.t.Fatalf("%d and not %d: %.400s", w.Code, status, w.Body)
	}
	return w
}

func random(n int, seed byte) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func md5Tag(b []byte) string {
	sum := md5.Sum(b)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

func TestObjectsGoUpAndDown(t *testing.T) {
	r := newRig(t, nil)
	r.want(r.do("PUT", "/b/x", []byte("x")), 404)
	r.want(r.do("PUT", "/bkt", nil), 200)
	for i, size := range []int{0, 1, file.InlineBytes, 3*file.MinChunkBytes + 7} {
		content := random(size, byte(i))
		w := r.want(r.do("PUT", fmt.Sprint("/bkt/dir/", size), content, "Content-Type", "text/plain", "X-Amz-Meta-Color", "red"), 200)
		if w.Header().Get("Etag") != md5Tag(content) {
			t.Errorf("%d bytes: ETag %s", size, w.Header().Get("Etag"))
		}
		w = r.want(r.do("GET", fmt.Sprint("/bkt/dir/", size), nil), 200)
		if !bytes.Equal(w.Body.Bytes(), content) || w.Header().Get("Etag") != md5Tag(content) || w.Header().Get("Content-Type") != "text/plain" || !slices.Equal(w.Header()[strings.ToLower("X-Amz-Meta-Color")], []string{"red"}) {
			t.Errorf("%d bytes: %d, %v", size, w.Body.Len(), w.Header())
		}
		if w = r.want(r.do("HEAD", fmt.Sprint("/bkt/dir/", size), nil), 200); w.Header().Get("Content-Length") != fmt.Sprint(size) {
			t.Errorf("HEAD of %d bytes: %v", size, w.Header())
		}
	}
	whole := random(3*file.MinChunkBytes+7, 3)
	name := fmt.Sprint("/bkt/dir/", len(whole))
	if w := r.want(r.do("GET", name, nil, "Range", "bytes=65530-65540"), 206); !bytes.Equal(w.Body.Bytes(), whole[65530:65541]) {
		t.Errorf("a range: %d bytes", w.Body.Len())
	}
	if w := r.want(r.do("GET", name, nil, "Host", "bkt.s3.example.org"), 404); w.Code != 404 {
		t.Error("the bucket of the host is ignored")
	}
	r.want(r.do("GET", strings.TrimPrefix(name, "/bkt"), nil, "Host", "bkt.s3.example.org"), 200)
	if w := r.want(r.do("GET", "/bkt?list-type=2&delimiter=/", nil), 200); !strings.Contains(w.Body.String(), "<Prefix>dir/</Prefix>") {
		t.Errorf("%s", w.Body)
	}
	if w := r.want(r.do("GET", "/bkt?list-type=2&prefix=dir/&max-keys=3", nil), 200); strings.Count(w.Body.String(), "<Key>") != 3 || !strings.Contains(w.Body.String(), "<IsTruncated>true") {
		t.Errorf("%s", w.Body)
	}
	r.want(r.do("PUT", "/bkt/copy", nil, "X-Amz-Copy-Source", name), 200)
	if w := r.want(r.do("GET", "/bkt/copy", nil), 200); !bytes.Equal(w.Body.Bytes(), whole) {
		t.Errorf("the copy has %d bytes", w.Body.Len())
	}
	r.want(r.do("DELETE", "/bkt", nil), 409)
	deletion := `<Delete><Object><Key>copy</Key></Object><Object><Key>dir/0</Key></Object></Delete>`
	sum := md5.Sum([]byte(deletion))
	r.want(r.do("POST", "/bkt?delete", []byte(deletion), "Content-MD5", base64.StdEncoding.EncodeToString(sum[:])), 200)
	r.want(r.do("GET", "/bkt/copy", nil), 404)
	r.want(r.do("GET", "/bkt/dir/0", nil), 404)
	r.want(r.do("DELETE", "/bkt/none", nil), 204)
	for _, target := range []string{"/bkt?acl", "/bkt/dir/1?tagging", "/bkt?lifecycle", "/bkt?versions"} {
		if w := r.do("GET", target, nil); w.Code != 501 {
			t.Errorf("%s: %d", target, w.Code)
		}
	}
}

func TestBodiesOtherThanStatedChangeNothing(t *testing.T) {
	r := newRig(t, nil)
	r.want(r.do("PUT", "/bkt", nil), 200)
	r.want(r.do("PUT", "/bkt/o", []byte("former")), 200)
	content := random(2*file.MinChunkBytes+9, 1)
	sum, other := sha256.Sum256(content), sha256.Sum256([]byte("other"))
	crc := crc32.NewIEEE()
	crc.Write(content)
	checksum := base64.StdEncoding.EncodeToString(crc.Sum(nil))
	chunked := func(content []byte, trailer string) []byte {
		half := len(content) / 2
		return []byte(fmt.Sprintf("%x;chunk-signature=00\r\n%s\r\n%x\r\n%s\r\n0\r\n%s\r\n", half, content[:half], len(content)-half, content[half:], trailer))
	}
	streamed := func(more ...string) []string {
		return append([]string{"X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "X-Amz-Decoded-Content-Length", fmt.Sprint(len(content)), "Content-Encoding", "aws-chunked"}, more...)
	}
	trailer := []string{"X-Amz-Trailer", "x-amz-checksum-crc32"}
	for name, c := range map[string]struct {
		body    []byte
		headers []string
		status  int
	}{
		"the right SHA-256":     {content, []string{"X-Amz-Content-Sha256", hex.EncodeToString(sum[:])}, 200},
		"another SHA-256":       {content, []string{"X-Amz-Content-Sha256", hex.EncodeToString(other[:])}, 400},
		"another MD5":           {content, []string{"Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA=="}, 400},
		"another checksum":      {content, []string{"X-Amz-Checksum-Crc32", "AAAAAA=="}, 400},
		"the right checksum":    {content, []string{"X-Amz-Checksum-Crc32", checksum}, 200},
		"chunked":               {chunked(content, ""), streamed(), 200},
		"the right trailer":     {chunked(content, "x-amz-checksum-crc32:"+checksum+"\r\n"), streamed(trailer...), 200},
		"another trailer":       {chunked(content, "x-amz-checksum-crc32:AAAAAA==\r\n"), streamed(trailer...), 400},
		"a missing trailer":     {chunked(content, ""), streamed(trailer...), 400},
		"too short":             {chunked(content[:1000], ""), streamed(), 400},
		"too long":              {chunked(append(bytes.Clone(content), 1), ""), streamed(), 400},
		"an empty body, stated": {nil, []string{"X-Amz-Content-Sha256", hex.EncodeToString(other[:])}, 400},
	} {
		r.want(r.do("PUT", "/bkt/o", []byte("former")), 200)
		if w := r.do("PUT", "/bkt/o", c.body, c.headers...); w.Code != c.status {
			t.Errorf("%s: %d and not %d: %s", name, w.Code, c.status, w.Body)
		}
		want := content
		if c.status != 200 {
			want = []byte("former")
		}
		if w := r.do("GET", "/bkt/o", nil); !bytes.Equal(w.Body.Bytes(), want) {
			t.Errorf("%s: the object has %d bytes, want %d", name, w.Body.Len(), len(want))
		}
	}
}

func TestMultipartUploadsAreOneFile(t *testing.T) {
	r := newRig(t, nil)
	r.want(r.do("PUT", "/bkt", nil), 200)
	w := r.want(r.do("POST", "/bkt/big?uploads", nil, "Content-Type", "text/plain"), 200)
	_, rest, _ := strings.Cut(w.Body.String(), "<UploadId>")
	id, _, _ := strings.Cut(rest, "</UploadId>")
	var whole []byte
	var listed strings.Builder
	tags := map[int]string{}
	for _, number := range []int{2, 1, 7} { // in any order
		part := random(file.MinChunkBytes+number, byte(number))
		tags[number] = r.want(r.do("PUT", fmt.Sprintf("/bkt/big?partNumber=%d&uploadId=%s", number, id), part), 200).Header().Get("Etag")
		if tags[number] != md5Tag(part) {
			t.Errorf("part %d: ETag %s", number, tags[number])
		}
	}
	for _, number := range []int{1, 2, 7} {
		whole = append(whole, random(file.MinChunkBytes+number, byte(number))...)
		fmt.Fprintf(&listed, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", number, tags[number])
	}
	r.want(r.do("POST", "/bkt/big?uploadId="+id, []byte("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"00\"</ETag></Part></CompleteMultipartUpload>")), 400)
	r.want(r.do("GET", "/bkt/big", nil), 404)
	w = r.want(r.do("POST", "/bkt/big?uploadId="+id, []byte("<CompleteMultipartUpload>"+listed.String()+"</CompleteMultipartUpload>")), 200)
	if !strings.Contains(w.Body.String(), strings.Trim(md5Tag(whole), `"`)) {
		t.Errorf("%s", w.Body)
	}
	if w = r.want(r.do("GET", "/bkt/big", nil), 200); !bytes.Equal(w.Body.Bytes(), whole) || w.Header().Get("Content-Type") != "text/plain" {
		t.Errorf("%d bytes of %d", w.Body.Len(), len(whole))
	}
	if w = r.want(r.do("GET", "/bkt/big", nil, "Range", "bytes=65530-131090"), 206); !bytes.Equal(w.Body.Bytes(), whole[65530:131091]) {
		t.Errorf("a range over parts: %d bytes", w.Body.Len())
	}
}

func TestOneOfManyConditionalPutsWins(t *testing.T) {
	r := newRig(t, nil)
	r.want(r.do("PUT", "/bkt", nil), 200)
	var group sync.WaitGroup
	statuses := make([]int, 100)
	for i := range statuses {
		group.Go(func() { statuses[i] = r.do("PUT", "/bkt/lock", []byte(fmt.Sprint(i)), "If-None-Match", "*").Code })
	}
	group.Wait()
	won := 0
	for i, status := range statuses {
		if status == 200 {
			won++
			if w := r.do("GET", "/bkt/lock", nil); w.Body.String() != fmt.Sprint(i) {
				t.Errorf("%d won, and %s is stored", i, w.Body)
			}
		} else if status != 412 {
			t.Errorf("a status %d", status)
		}
	}
	if won != 1 {
		t.Errorf("%d requests won", won)
	}
	r.want(r.do("PUT", "/bkt/lock", []byte("next"), "If-Match", md5Tag([]byte("none"))), 412)
	tag := r.do("HEAD", "/bkt/lock", nil).Header().Get("Etag")
	r.want(r.do("PUT", "/bkt/lock", []byte("next"), "If-Match", tag), 200)
}

// keys are API keys by their ids.
type keys map[string]*access.Identity

func (k keys) ByID(id string) (*access.Identity, error) {
	if i := k[id]; i != nil {
		return i, nil
	}
	return nil, access.ErrUnauthenticated
}

func (k keys) Authenticate(string) (*access.Identity, error) { return nil, access.ErrUnauthenticated }

func TestRequestsWithoutAValidSignatureTouchNothing(t *testing.T) {
	grants, err := access.Spec{Prefixes: []access.Prefix{{Prefix: "bkt/mine/", Access: access.Write}}}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, keys{"abcdefghij": {KeyID: "abcdefghij", Grants: grants}})
	signature := "AWS4-HMAC-SHA256 Credential=%s/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00"
	for _, c := range [][]string{nil, {"Authorization", fmt.Sprintf(signature, "unknown")}, {"Authorization", fmt.Sprintf(signature, "abcdefghij"), "X-Amz-Date", time.Now().UTC().Format("20060102T150405Z")},
		{"Authorization", "Bearer x"}} {
		if w := r.do("PUT", "/bkt/mine/x", []byte("x"), c...); w.Code/100 != 4 || !strings.Contains(w.Body.String(), "<Error>") {
			t.Errorf("%v: %d %s", c, w.Code, w.Body)
		}
	}
}

// noKeys are the keys of a server that has none.
type noKeys struct{ anyone }

func (k *noKeys) ByID(string) (*access.Identity, error) { return k.Authenticate("") }

// TestEveryAccessKeyIsAcceptedWhileThereIsNoKey: tools must have an access key, and send a signature.
func TestEveryAccessKeyIsAcceptedWhileThereIsNoKey(t *testing.T) {
	r := newRig(t, &noKeys{anyone{mustCompile(t, access.Spec{Roles: []access.Role{access.RoleAdmin}})}})
	for _, authorization := range []string{"AWS4-HMAC-SHA256 Credential=anybody/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00", "AWS4-HMAC-SHA256 Credential=a/b", "AWS a:b"} {
		r.want(r.do("PUT", "/bkt", nil, "Authorization", authorization), 200)
		r.want(r.do("PUT", "/bkt/x", []byte("x"), "Authorization", authorization), 200)
		r.want(r.do("DELETE", "/bkt/x", nil, "Authorization", authorization), 204)
		r.want(r.do("DELETE", "/bkt", nil, "Authorization", authorization), 204)
	}
}

// anyone has the same grants for every request without a signature.
type anyone struct{ grants *access.Grants }

func (a *anyone) ByID(string) (*access.Identity, error) { return nil, access.ErrUnauthenticated }
func (a *anyone) Authenticate(string) (*access.Identity, error) {
	return &access.Identity{Grants: a.grants}, nil
}

func mustCompile(t *testing.T, s access.Spec) *access.Grants {
	t.Helper()
	g, err := s.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestNamesBesideThePathAreJudged: names in the body of a deletion and in X-Amz-Copy-Source, in every spelling.
func TestNamesBesideThePathAreJudged(t *testing.T) {
	sender := &anyone{mustCompile(t, access.Spec{Roles: []access.Role{access.RoleAdmin}})}
	r := newRig(t, sender)
	r.want(r.do("PUT", "/bkt", nil), 200)
	r.want(r.do("PUT", "/bkt/secret", []byte("hidden")), 200)
	r.want(r.do("PUT", "/bkt/mine/x", []byte("seen")), 200)
	sender.grants = mustCompile(t, access.Spec{Prefixes: []access.Prefix{{Prefix: "bkt/mine/", Access: access.Write}}})
	var answers []string
	for _, name := range []string{"secret", "absent"} {
		for _, condition := range []string{"", "<ETag>wrong</ETag>", "<Size>6</Size>"} {
			deletion := "<Delete><Object><Key>" + name + "</Key>" + condition + "</Object></Delete>"
			w := r.do("POST", "/bkt?delete", []byte(deletion))
			answers = append(answers, strings.ReplaceAll(w.Body.String(), name, "name"))
			if !strings.Contains(w.Body.String(), "<Code>AccessDenied</Code>") {
				t.Errorf("%s: %d %s", deletion, w.Code, w.Body)
			}
		}
	}
	if slices.Sort(answers); len(slices.Compact(answers)) != 1 {
		t.Errorf("the answers differ: %q", answers)
	}
	for _, source := range []string{"/bkt/secret", "bkt/secret", "//bkt/secret", "/bkt//secret", "/bkt%2Fsecret", "%2Fbkt/secret", "/bkt/mine/../secret", "/bkt/mine/%2e%2e/secret",
		"/bkt/secret?versionId=null", "/bkt/secret%3FversionId=null", "/bkt/mine/x?versionId=null&x=/bkt/secret", "/bkt/%73ecret", "/bkt/%2573ecret", "/bkt/sec+ret"} {
		w := r.do("PUT", "/bkt/mine/copy", nil, "X-Amz-Copy-Source", source)
		if got := r.do("GET", "/bkt/mine/copy", nil); strings.Contains(got.Body.String(), "hidden") {
			t.Errorf("a copy of %s: %d %s", source, w.Code, w.Body)
		}
	}
	r.want(r.do("PUT", "/bkt/mine/copy", nil, "X-Amz-Copy-Source", "/bkt/mine/x"), 200)
	r.want(r.do("POST", "/bkt?delete", []byte("<Delete><Object><Key>mine/copy</Key></Object></Delete>")), 200)
	r.want(r.do("GET", "/bkt/mine/copy", nil), 404)
	sender.grants = mustCompile(t, access.Spec{Roles: []access.Role{access.RoleAdmin}})
	if w := r.want(r.do("GET", "/bkt/secret", nil), 200); w.Body.String() != "hidden" {
		t.Errorf("%s", w.Body)
	}
}

func TestSecretsAreDerived(t *testing.T) {
	cluster := []byte(strings.Repeat("s", s3.MinSecretBytes))
	a, err := s3.SecretOf(cluster, "a")
	if err != nil {
		t.Fatal(err)
	}
	again, _ := s3.SecretOf(cluster, "a")
	b, _ := s3.SecretOf(cluster, "b")
	other, _ := s3.SecretOf([]byte(strings.Repeat("t", s3.MinSecretBytes)), "a")
	if a != again || a == b || a == other || len(a) != 40 {
		t.Errorf("%q %q %q %q", a, again, b, other)
	}
}

var _ http.Handler = (*s3.Door)(nil)

// TestEmptyBodiesAreExpectedToo: a client that waits for 100 Continue before an empty body gets it.
func TestEmptyBodiesAreExpectedToo(t *testing.T) {
	r := newRig(t, nil)
	r.want(r.do("PUT", "/bkt", nil), 200)
	server := httptest.NewServer(r.door)
	defer server.Close()
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answers := bufio.NewReader(c)
	for range 2 {
		fmt.Fprintf(c, "PUT /bkt/empty HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n")
		for _, want := range []int{100, 200} {
			answer, err := http.ReadResponse(answers, nil)
			if err != nil || answer.StatusCode != want {
				t.Fatalf("%v %v, want %d", answer, err, want)
			}
		}
	}
}
