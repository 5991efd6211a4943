package files

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// benchBytes is the size of the files of the benchmark.
const benchBytes = 64 << 20

// BenchmarkFiles stores and reads a file of 64 MiB, with two copies, on three SQLite files and on three databases of a
// MariaDB server; beside them a handler that drops the bytes, and a handler that writes them to a synced file.
//
//	go test -run - -bench Files -benchtime 5x ./test/files
func BenchmarkFiles(b *testing.B) {
	b.Run("nothing", func(b *testing.B) {
		benchmark(b, handler(b, func(body io.Reader) error { _, err := io.Copy(io.Discard, body); return err }, func() (io.ReadCloser, error) {
			return io.NopCloser(newPattern(benchBytes, 1)), nil
		}))
	})
	b.Run("file", func(b *testing.B) {
		path := filepath.Join(b.TempDir(), "f")
		benchmark(b, handler(b, func(body io.Reader) error { return writeSynced(path, body) }, func() (io.ReadCloser, error) { return os.Open(path) }))
	})
	b.Run("embedded", func(b *testing.B) {
		benchmark(b, runnel.Serve(b, "--config", runnel.WriteConfig(b, "", runnel.ThreeFiles(b)...)).URL+"/v1/files/f")
	})
	b.Run("MariaDB", func(b *testing.B) {
		server := servers.MariaDB(b)
		urls := []string{server.Database(b), server.Database(b), server.Database(b)}
		benchmark(b, runnel.Serve(b, "--config", runnel.WriteConfig(b, "", urls...)).URL+"/v1/files/f")
	})
}

func writeSynced(path string, body io.Reader) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, body); err != nil {
		return err
	}
	return f.Sync()
}

// handler serves PUT and GET of a single file.
func handler(b *testing.B, put func(io.Reader) error, open func() (io.ReadCloser, error)) (url string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			if err := put(r.Body); err != nil {
				w.WriteHeader(http.StatusInternalServerError)
			}
			return
		}
		f, err := open()
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		defer f.Close()
		_, _ = io.Copy(w, f) // the client counts the bytes
	}))
	b.Cleanup(server.Close)
	return server.URL
}

// benchmark measures uploads and downloads. The content differs from upload to upload, so that every chunk is new.
func benchmark(b *testing.B, url string) {
	seed := byte(0)
	upload := func() {
		seed++
		resp, err := request(http.MethodPut, url, newPattern(benchBytes, seed), benchBytes)
		if err != nil || resp.StatusCode/100 != 2 {
			b.Fatal(resp, err)
		}
		resp.Body.Close()
	}
	upload()
	b.Run("up", func(b *testing.B) {
		b.SetBytes(benchBytes)
		for b.Loop() {
			upload()
		}
	})
	b.Run("down", func(b *testing.B) {
		b.SetBytes(benchBytes)
		for b.Loop() {
			resp, err := http.Get(url)
			if err != nil {
				b.Fatal(err)
			}
			n, err := io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if err != nil || n != benchBytes {
				b.Fatal(n, err)
			}
		}
	})
}
