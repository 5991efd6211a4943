package console

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/runnelkv/runnel/api/wire"
)

// filesPage is a page of a directory.
type filesPage struct {
	Dir      string
	Crumbs   []crumb
	Folders  []listed
	Files    []fileRow
	More     string // address of the next page
	MayWrite bool
}

// fileRow is a file of a directory.
type fileRow struct {
	*wire.File
	Short string
}

// showFiles lists a directory.
func showFiles(v *visit) error {
	p := &filesPage{Dir: v.r.Query.Get("dir")}
	if p.Dir == "" {
		p.Dir = v.r.Query.Get("prefix")
	}
	if p.Dir != "" && !strings.HasSuffix(p.Dir, "/") {
		p.Dir += "/"
	}
	if !v.r.Grants.CanReadAll(p.Dir) {
		return v.render(http.StatusForbidden, "closed", "Files", &closedPage{"files", "file", p.Dir})
	}
	p.Crumbs, p.MayWrite = crumbs(p.Dir, "/"), v.r.Grants.CanWriteAll(p.Dir)
	q := url.Values{"limit": {"100"}}
	if after := v.r.Query.Get("after"); after != "" {
		q.Set("after", after)
	}
	var page wire.FilePage
	if err := v.fetch(wire.Path(wire.FilesPath, p.Dir), q, &page); err != nil {
		return err
	}
	for _, name := range page.Prefixes {
		p.Folders = append(p.Folders, listed{string(name), strings.TrimPrefix(string(name), p.Dir)})
	}
	for _, f := range page.Files {
		p.Files = append(p.Files, fileRow{f, strings.TrimPrefix(string(f.Path), p.Dir)})
	}
	if page.Next != "" {
		p.More = "files?" + url.Values{"dir": {p.Dir}, "after": {page.Next}}.Encode()
	}
	return v.render(http.StatusOK, "files", "Files", p)
}

// filePage is a file with its preview and its chunks.
type filePage struct {
	*value
	Path     wire.Text
	Short    string
	Dir      string
	Crumbs   []crumb
	Manifest wire.FileManifest
	Check    *wire.FileVerification // nil: not asked for
	MayWrite bool
}

// showFile shows a file.
func showFile(v *visit) error { return v.showFileWith(v.r.Query.Get("path"), nil) }

func (v *visit) showFileWith(path string, check *wire.FileVerification) error {
	read, err := v.readValue(wire.Path(wire.FilesPath, path), nil)
	if err != nil {
		return err
	}
	dir := folderOf(path, "/")
	p := &filePage{value: read, Path: wire.Text(path), Short: path[len(dir):], Dir: dir, Crumbs: crumbs(path, "/"), Check: check, MayWrite: v.r.Grants.CanWrite(path)}
	if err := v.fetch(wire.Path(wire.FilesPath, path), url.Values{"manifest": {""}, "limit": {"50"}}, &p.Manifest); err != nil {
		return err
	}
	return v.render(http.StatusOK, "file", path, p)
}

// verifyFile reads every copy of a file, and shows the outcome.
func verifyFile(v *visit, form url.Values) error {
	path := form.Get("path")
	check := new(wire.FileVerification)
	if _, err := v.send(http.MethodPost, wire.Path(wire.FilesPath, path)+"/verify", nil, nil, check); err != nil {
		return err
	}
	return v.showFileWith(path, check)
}

// removeFile deletes a file, unless the file was replaced after the form was made.
func removeFile(v *visit, form url.Values) error {
	path := form.Get("path")
	_, err := v.do(call{method: http.MethodDelete, path: wire.Path(wire.FilesPath, path), fields: map[string]string{"If-Match": form.Get("etag")}})
	if err != nil {
		return err
	}
	return v.redirect("files", url.Values{"dir": {folderOf(path, "/")}, "note": {"deleted"}})
}

// uploadPage is the outcome of an upload of which a part was refused.
type uploadPage struct {
	wire.StoredFiles
	Dir string
}

// takeUpload passes the files of a form on to the route of the directory while they arrive.
func takeUpload(v *visit) error {
	dir := v.r.Query.Get("dir")
	body, err := v.w.StreamBody(v.r)
	if err != nil {
		return err
	}
	c := call{method: http.MethodPost, path: wire.Path(wire.FilesPath, dir), fields: map[string]string{"Content-Type": v.r.Header.Get("Content-Type")}, body: body, size: v.r.ContentLength}
	answer, err := v.do(c)
	if err != nil {
		return err
	}
	p := &uploadPage{Dir: dir}
	if err := answer.decode(&p.StoredFiles); err != nil {
		return err
	}
	for _, f := range p.Files {
		if f.Problem != nil {
			return v.render(http.StatusOK, "uploaded", "Upload", p)
		}
	}
	return v.redirect("files", url.Values{"dir": {dir}, "note": {"uploaded"}})
}
