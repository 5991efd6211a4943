package files

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/test/runnel"
)

func TestMain(m *testing.M) { os.Exit(runnel.Main(m)) }

// often makes the sync process look at the files each second.
const often = "[files]\ncheck_every = \"1s\"\ngrace = \"1m\"\n"

// pattern is content of n bytes that differ for each seed, made on the fly.
type pattern struct {
	rnd  *rand.ChaCha8
	left int64
}

func newPattern(n int64, seed byte) *pattern { return &pattern{rand.NewChaCha8([32]byte{seed}), n} }

// Read implements io.Reader.
func (p *pattern) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), p.left))
	p.rnd.Read(b[:n])
	p.left -= int64(n)
	return n, nil
}

func sumOf(r io.Reader) (string, int64, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, r)
	return hex.EncodeToString(sum.Sum(nil)), n, err
}

func request(method, url string, body io.Reader, size int64) (*http.Response, error) {
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		return nil, err
	}
	r.ContentLength = size
	return http.DefaultClient.Do(r)
}

// put stores a pattern and returns its SHA-256.
func put(t *testing.T, p *runnel.Process, name string, n int64, seed byte) string {
	t.Helper()
	want, _, err := sumOf(newPattern(n, seed))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := request("PUT", p.URL+"/v1/files/"+name, newPattern(n, seed), n)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Fatalf("PUT %s: %d %s", name, resp.StatusCode, text)
	}
	return want
}

// get returns status, SHA-256 and size of a file.
func get(p *runnel.Process, name string) (status int, sum string, n int64, err error) {
	resp, err := http.Get(p.URL + "/v1/files/" + name + "?consistency=master")
	if err != nil {
		return 0, "", 0, err
	}
	defer resp.Body.Close()
	sum, n, err = sumOf(resp.Body)
	return resp.StatusCode, sum, n, err
}

func wantFile(t *testing.T, p *runnel.Process, name, want string, size int64) {
	t.Helper()
	if status, sum, n, err := get(p, name); err != nil || status != 200 || sum != want || n != size {
		t.Errorf("GET %s: %d, %d bytes of %d, the right ones: %t, %v", name, status, n, size, sum == want, err)
	}
}

// verify returns the report of a file.
func verify(t *testing.T, p *runnel.Process, name string) (v wire.FileVerification) {
	t.Helper()
	resp, err := http.Post(p.URL+"/v1/files/"+name+"/verify", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil || resp.StatusCode != 200 {
		t.Fatalf("verify %s: %d %v", name, resp.StatusCode, err)
	}
	return v
}

// resident is the resident memory of a process, and its peak, in bytes.
func resident(t *testing.T, p *runnel.Process) (now, peak int64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			now = kib << 10
		case "VmHWM:":
			peak = kib << 10
		}
	}
	return now, peak
}

// TestLargeFilesNeedLittleMemory stores and reads files of all sizes. With RUNNEL_TEST_LONG=1 the largest has 5 GiB. The
// memory limit keeps the page caches of SQLite small, which any use fills.
func TestLargeFilesNeedLittleMemory(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "512MiB")
	p := runnel.Serve(t, "--config", runnel.WriteConfig(t, "", runnel.ThreeFiles(t)...))
	idle, _ := resident(t, p)
	sizes := []int64{0, 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 100 << 20}
	if os.Getenv("RUNNEL_TEST_LONG") == "1" {
		sizes = append(sizes, 1<<30, 5<<30)
	}
	for i, size := range sizes {
		began := time.Now()
		sum := put(t, p, "f", size, byte(i))
		up := time.Since(began)
		wantFile(t, p, "f", sum, size)
		_, peak := resident(t, p)
		t.Logf("%d bytes: up %v, down %v, memory %d MiB over idle %d MiB", size, up, time.Since(began)-up, (peak-idle)>>20, idle>>20)
		if !runnel.RaceEnabled && peak-idle > 128<<20 {
			t.Errorf("%d bytes: %d MiB of memory over %d MiB", size, (peak-idle)>>20, idle>>20)
		}
	}
}

// TestKilledServersLeaveWholeFiles kills the server at any moment of uploads, copies and deletions: afterwards each file is
// as before or after the last request.
func TestKilledServersLeaveWholeFiles(t *testing.T) {
	file := runnel.WriteConfig(t, often, runnel.ThreeFiles(t)...)
	const size = 5<<20 + 77
	rnd := runnel.NewRandom(t)
	sums := map[string]bool{}
	for seed := range byte(8) {
		sum, _, err := sumOf(newPattern(size, seed))
		if err != nil {
			t.Fatal(err)
		}
		sums[sum] = true
	}
	p := runnel.Serve(t, "--config", file)
	acknowledged := put(t, p, "f", size, 0)
	for round := range runnel.Rounds(6, 100) {
		next := byte(1 + round%7)
		answered := make(chan int, 1)
		go func() {
			resp, err := request("PUT", p.URL+"/v1/files/f", newPattern(size, next), size)
			if err != nil {
				answered <- 0
				return
			}
			resp.Body.Close()
			answered <- resp.StatusCode
		}()
		time.Sleep(time.Duration(rnd.Int64N(int64(120 * time.Millisecond))))
		p.Kill()
		status := <-answered
		p = runnel.Serve(t, "--config", file)
		code, sum, n, err := get(p, "f")
		wanted, _, _ := sumOf(newPattern(size, next))
		if err != nil || code != 200 || n != size || sum != acknowledged && sum != wanted || status/100 == 2 && sum != wanted {
			t.Fatalf("round %d, answered %d: %d, %d bytes, %v", round, status, code, n, err)
		}
		if acknowledged = sum; !sums[sum] {
			t.Fatalf("round %d: bytes that were never stored", round)
		}
		if v := verify(t, p, "f"); !v.Clean {
			t.Fatalf("round %d: %+v", round, v)
		}
	}
}

// TestPartitionThatComesBackEmptyIsFilled: while a replica is away, files are stored and read; it comes back empty, and has
// all its copies again.
func TestPartitionThatComesBackEmptyIsFilled(t *testing.T) {
	urls := runnel.ThreeFiles(t)
	file := runnel.WriteConfig(t, often, urls...)
	p := runnel.Serve(t, "--config", file)
	sums := map[string]string{}
	for i := range byte(4) {
		name := fmt.Sprint("before/", i)
		sums[name] = put(t, p, name, 3<<20+7, i)
	}
	if err := p.Stop(t); err != nil {
		t.Fatal(err)
	}
	lost := strings.TrimPrefix(urls[2], "sqlite:")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(lost + suffix); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	p = runnel.Serve(t, "--config", file)
	sums["after"] = put(t, p, "after", 3<<20+7, 9)
	for name, sum := range sums {
		wantFile(t, p, name, sum, 3<<20+7)
	}
	runnel.Eventually(t, 60*time.Second, "every copy is back", func() error {
		var missing []string
		for name := range sums {
			resp, err := http.Get(p.URL + "/v1/files/" + name + "?manifest&consistency=master")
			if err != nil {
				return err
			}
			var m wire.FileManifest
			err = json.NewDecoder(resp.Body).Decode(&m)
			resp.Body.Close()
			if err != nil {
				return err
			}
			for _, c := range m.Chunks {
				if len(c.Partitions) < 2 {
					missing = append(missing, fmt.Sprint(name, " ", c.Index))
				}
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("a single copy of %v", missing)
		}
		return nil
	})
	for name := range sums {
		if v := verify(t, p, name); !v.Clean || v.Damaged+v.Missing > 0 {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// TestBrokenUploadsOverTheNetworkChangeNothing ends connections in the middle of uploads.
func TestBrokenUploadsOverTheNetworkChangeNothing(t *testing.T) {
	p := runnel.Serve(t, "--config", runnel.WriteConfig(t, "", runnel.ThreeFiles(t)...))
	sum := put(t, p, "f", 3<<20, 1)
	for _, sent := range []int64{0, 1, 1 << 20, 2<<20 + 5} {
		body := io.MultiReader(newPattern(sent, 2), brokenReader{})
		if resp, err := request("PUT", p.URL+"/v1/files/f", body, 3<<20); err == nil {
			resp.Body.Close()
			t.Errorf("an upload that broke off after %d bytes: %d", sent, resp.StatusCode)
		}
		wantFile(t, p, "f", sum, 3<<20)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestCommandsMoveDirectories mirrors a directory up and down.
func TestCommandsMoveDirectories(t *testing.T) {
	p := runnel.Serve(t, "--config", runnel.WriteConfig(t, "", runnel.ThreeFiles(t)...))
	up, down := t.TempDir(), t.TempDir()
	contents := map[string][]byte{}
	for i := range 40 {
		name := fmt.Sprintf("d%d/f %d", i%3, i)
		content, err := io.ReadAll(newPattern(int64(i)*7777, byte(i)))
		if err == nil {
			err = os.MkdirAll(up+"/"+name[:2], 0o755)
		}
		if err == nil {
			err = os.WriteFile(up+"/"+name, content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		contents[name] = content
	}
	for _, args := range [][]string{{"mirror", up, "www/"}, {"mirror", down, "www/", "--down"}} {
		if _, err := runnel.Run(t, append([]string{"file", "--server", p.URL}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range contents {
		if got, err := os.ReadFile(down + "/" + name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes of %d: %v", name, len(got), len(want), err)
		}
	}
}
