package client

import (
	"cmp"
	"context"
	"encoding/base64"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/runnelkv/runnel/api/wire"
)

// File is a file of a list. Its Path names the file, and a common prefix of a list has only a Path, which ends in the
// delimiter.
type File struct {
	wire.File
	IsPrefix bool
}

// FileOptions say how a file is stored.
type FileOptions struct {
	ContentType string            // the media type; "application/octet-stream" if empty
	Metadata    map[string]string // names of letters, digits and hyphens; at most 8 KiB in all
	Copies      int               // how many partitions hold each piece; 0 for the server's default
	SHA256      []byte            // of the content, which the server compares before the file is visible; nil for none
	If          Conditions
}

// PutFile stores a file of any size. A Body of size -1 is sent to its end, once: after a lost connection it is not
// repeated. When PutFile returns without an error, the file is durable.
func (c *Client) PutFile(ctx context.Context, path string, content Body, o FileOptions) (PutResult, error) {
	header := http.Header{"Content-Type": {cmp.Or(o.ContentType, "application/octet-stream")}}
	o.If.addTo(header)
	for name, text := range o.Metadata {
		header.Set(wire.MetaHeader+name, text)
	}
	if o.SHA256 != nil {
		header.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(o.SHA256)+":")
	}
	return c.sendWrite(ctx, request{
		method: http.MethodPut, path: wire.Path(wire.FilesPath, path), query: copiesQuery(o.Copies), header: header, body: content,
		success: fileStored, idempotent: o.If.isZero() && content.Size >= 0,
	})
}

var fileStored = []int{http.StatusCreated, http.StatusAccepted, http.StatusNoContent}

func copiesQuery(copies int) url.Values {
	q := url.Values{}
	if copies > 0 {
		q.Set("copies", strconv.Itoa(copies))
	}
	return q
}

// CopyFile stores the content of a file under another name, without moving the content.
func (c *Client) CopyFile(ctx context.Context, from, to string, o FileOptions) (PutResult, error) {
	header := http.Header{}
	o.If.addTo(header)
	query := copiesQuery(o.Copies)
	query.Set("to", to)
	return c.sendWrite(ctx, request{
		method: http.MethodPost, path: wire.Path(wire.FilesPath, from+"/copy"), query: query, header: header,
		success: fileStored, idempotent: o.If.isZero(), silence: time.Hour,
	})
}

// DeleteFile deletes a file. Without such a file the error is ErrNotFound.
func (c *Client) DeleteFile(ctx context.Context, path string, only Conditions) error {
	header := http.Header{}
	only.addTo(header)
	_, err := c.sendWrite(ctx, request{
		method: http.MethodDelete, path: wire.Path(wire.FilesPath, path), header: header,
		success: []int{http.StatusNoContent}, idempotent: only.isZero(),
	})
	return err
}

// VerifyFile makes the server read every copy of a file, and restore damaged and missing copies.
func (c *Client) VerifyFile(ctx context.Context, path string) (*wire.FileVerification, error) {
	v := &wire.FileVerification{}
	_, err := c.getJSON(ctx, request{
		method: http.MethodPost, path: wire.Path(wire.FilesPath, path+"/verify"), query: url.Values{"consistency": {string(Master)}},
		idempotent: true, silence: time.Hour,
	}, v)
	return v, err
}

// FileContent is the content of a file that is being received. It must be closed. Its Read fails with a
// *ConnectionError if the response is cut short.
type FileContent struct {
	io.ReadCloser
	ContentType string
	Size        int64 // of the whole file, in bytes
	Offset      int64 // of the first byte that Read returns
	ETag        string
	SHA256      []byte // of the whole file; nil if unknown
}

// OpenFile returns the content of a file from an offset, as a stream. The offset is 0, or less than the size of the file.
// With an ETag, and if the file has another, the stream begins at 0. Without such a file the error is ErrNotFound.
func (c *Client) OpenFile(ctx context.Context, path string, offset int64, etag string, o ReadOptions) (*FileContent, error) {
	header := http.Header{"Accept": {"*/*"}}
	if offset > 0 {
		header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-")
		if etag != "" {
			header.Set("If-Range", etag)
		}
	}
	resp, err := c.send(ctx, request{
		method: http.MethodGet, path: wire.Path(wire.FilesPath, path), query: o.query(), idempotent: true, header: header,
		success: []int{http.StatusOK, http.StatusPartialContent},
	})
	if err != nil {
		return nil, err
	}
	f := &FileContent{ReadCloser: resp.Body, ContentType: resp.Header.Get("Content-Type"), Size: resp.ContentLength, ETag: resp.Header.Get("ETag")}
	if resp.StatusCode == http.StatusPartialContent {
		f.Offset, f.Size = offset, offset+resp.ContentLength
	}
	if text, found := strings.CutPrefix(resp.Header.Get("Repr-Digest"), "sha-256=:"); found {
		f.SHA256, _ = base64.StdEncoding.DecodeString(strings.TrimSuffix(text, ":"))
	}
	return f, nil
}

// ListFiles yields the files whose names begin with a prefix, in byte order and constant memory; with a delimiter, names
// that continue behind their next delimiter appear once, as a common prefix. The last pair holds the error, if any.
func (c *Client) ListFiles(ctx context.Context, prefix, delimiter string, o ReadOptions) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		query := o.query()
		setNonEmpty(query, "prefix", prefix)
		query.Set("delimiter", delimiter)
		query.Set("limit", strconv.Itoa(pageKeys))
		for {
			var page wire.FilePage
			if _, err := c.getJSON(ctx, request{method: http.MethodGet, path: wire.FilesPath, query: query, idempotent: true}, &page); err != nil {
				yield(File{}, err)
				return
			}
			for _, f := range mergePage(page) {
				if !yield(f, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			query.Set("after", page.Next)
		}
	}
}

// mergePage merges the files and the common prefixes of a page, in byte order.
func mergePage(page wire.FilePage) []File {
	merged := make([]File, 0, len(page.Files)+len(page.Prefixes))
	for len(page.Files) > 0 || len(page.Prefixes) > 0 {
		if len(page.Prefixes) == 0 || len(page.Files) > 0 && page.Files[0].Path < page.Prefixes[0] {
			merged = append(merged, File{File: *page.Files[0]})
			page.Files = page.Files[1:]
			continue
		}
		merged = append(merged, File{File: wire.File{Path: page.Prefixes[0]}, IsPrefix: true})
		page.Prefixes = page.Prefixes[1:]
	}
	return merged
}
