package testbed

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/runnelkv/runnel/test/bench/internal/report"
)

const (
	fileBytes = report.FileMiB << 20
	// stampEvery is less than the size of a chunk, so that no upload finds its chunks stored.
	stampEvery = 64 << 10
)

// StartFiles starts the systems of the files phase.
func (s *Testbed) StartFiles(ctx context.Context) ([]*System, error) {
	var systems []*System
	for _, kind := range []string{report.Embedded, report.OnMariaDB} {
		name := report.OurFiles(kind)
		if kind == report.OnMariaDB && s.Database == nil {
			continue
		}
		system, err := s.StartRunnel(ctx, name, s.Partitions(name, kind, 3))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		systems = append(systems, system.files(name))
	}
	for name, args := range map[string][]string{report.DiskFiles: {"files", filepath.Join(s.Dir, "files")}, report.NoFiles: {"files", ""}} {
		system, err := s.startSelf(ctx, name, entrance{}, args...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		systems = append(systems, system.files(name))
	}
	return systems, nil
}

// files returns a system that stores and reads whole files of s, in a request each. Each of four names has a content before the first
// measurement, and each upload a new content.
func (s *System) files(name string) *System {
	const names = 4
	f := &fileClient{client: lockClient(), base: "http://" + s.Address + "/v1/files/bench/"}
	return &System{Name: name, Processes: s.Processes, Prepare: func(ctx context.Context) error {
		for i := range names {
			if err := f.put(ctx, i, uint64(i)); err != nil {
				return err
			}
		}
		return nil
	}, Direct: map[string]DirectOperation{
		report.FilePut.Case: func(ctx context.Context, key int, stamp uint64) error { return f.put(ctx, key%names, stamp) },
		report.FileGet.Case: func(ctx context.Context, key int, _ uint64) error { return f.get(ctx, key%names) },
	}}
}

// fileClient sends and reads files.
type fileClient struct {
	client *http.Client
	base   string // of the URLs
}

// noise is what all files have in common.
var noise = func() []byte {
	b := make([]byte, fileBytes)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}()

// stamped reads noise with a stamp at the start of each piece of stampEvery bytes. No upload has memory of its own.
type stamped struct {
	stamp [8]byte
	at    int
}

// Read implements io.Reader.
func (r *stamped) Read(b []byte) (int, error) {
	if r.at == fileBytes {
		return 0, io.EOF
	}
	within := r.at % stampEvery
	n := copy(b, noise[r.at:r.at-within+stampEvery])
	if within < len(r.stamp) {
		copy(b[:n], r.stamp[within:])
	}
	r.at += n
	return n, nil
}

func (f *fileClient) put(ctx context.Context, name int, stamp uint64) error {
	body := &stamped{}
	binary.BigEndian.PutUint64(body.stamp[:], stamp)
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, f.base+strconv.Itoa(name), body)
	if err != nil {
		return err
	}
	r.ContentLength = fileBytes
	return f.do(r, http.StatusCreated, http.StatusNoContent)
}

func (f *fileClient) get(ctx context.Context, name int) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.base+strconv.Itoa(name), nil)
	if err != nil {
		return err
	}
	return f.do(r, http.StatusOK, http.StatusOK)
}

// do sends a request and reads the answer, which has one of two statuses. The answer to a GET is a whole file.
func (f *fileClient) do(r *http.Request, want, or int) error {
	answer, err := f.client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	n, err := io.Copy(io.Discard, answer.Body)
	if err == nil && (answer.StatusCode != want && answer.StatusCode != or || r.Method == http.MethodGet && n != fileBytes) {
		err = fmt.Errorf("%s %s: %s, %d bytes", r.Method, r.URL, answer.Status, n)
	}
	return err
}

// fileHandler stores files in a directory, or nowhere if the directory is "".
func fileHandler(dir string) (http.Handler, error) {
	if dir == "" {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(noise))
				return
			}
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		}), nil
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := filepath.Join(dir, filepath.Base(r.URL.Path))
		if r.Method == http.MethodGet {
			http.ServeFile(w, r, path)
			return
		}
		if err := writeFile(dir, path, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}), os.MkdirAll(dir, 0o700)
}

// writeFile replaces a file durably.
func writeFile(dir, path string, content io.Reader) error {
	file, err := os.CreateTemp(dir, "upload-")
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(file, content); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}
