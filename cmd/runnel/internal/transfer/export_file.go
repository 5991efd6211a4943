package transfer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/runnelkv/runnel/cmd/runnel/internal/console"
)

// exportQuery is the query of an export, which is kept beside the unfinished file.
type exportQuery struct {
	Format       int    `json:"format"` // of the lines
	Server       string `json:"server"`
	Prefix       string `json:"prefix"`
	Consistency  string `json:"consistency"`
	MaxStaleness string `json:"max_staleness"`
}

// maxQueryBytes bounds the file of a query.
const maxQueryBytes = 64 << 10

// exportFormat is the version of the format of the lines.
const exportFormat = 1

func (q exportQuery) String() string {
	s := fmt.Sprintf("prefix %q from %s", q.Prefix, q.Server)
	if q.Consistency != "" {
		s += ", consistency " + q.Consistency
	}
	if q.MaxStaleness != "" {
		s += ", at most " + q.MaxStaleness + " behind"
	}
	return s
}

// exportFile is the unfinished file of an export, NAME.partial, and the file of the query, NAME.partial.json. The lock of
// the query keeps a second export to the same name away.
type exportFile struct {
	*os.File        // NAME.partial, positioned behind the last line
	last     string // the key of the last line; empty without lines
	name     string
	query    *os.File
}

// openExport creates the unfinished file of name, or with resume opens the unfinished file of an earlier export, which must
// have the same query.
func openExport(name string, q exportQuery, resume bool) (*exportFile, error) {
	if err := console.CheckTarget(name); err != nil {
		return nil, err
	}
	e := &exportFile{name: name}
	var err error
	if e.query, err = openLocked(name + ".partial.json"); err != nil {
		return nil, err
	}
	if resume {
		err = e.resume(q)
	} else {
		err = e.create(q)
	}
	if err != nil {
		return nil, errors.Join(err, e.query.Close())
	}
	return e, nil
}

// openLocked opens or creates a file that no other process has locked.
func openLocked(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|noFollow, 0o600)
	if err != nil {
		return nil, err
	}
	if err = tryLock(f); err == nil {
		var held, there fs.FileInfo
		if held, err = f.Stat(); err == nil {
			there, err = os.Lstat(name)
		}
		if err == nil && os.SameFile(held, there) { // otherwise the holder has just removed the file
			return f, f.Chmod(0o600)
		}
	}
	return nil, errors.Join(fmt.Errorf("another export holds %s", name), f.Close())
}

// create creates both files. Links are not followed, and only the owner can read the files.
func (e *exportFile) create(q exportQuery) error {
	partial := e.name + ".partial"
	if err := os.Remove(partial); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := json.Marshal(q)
	if err == nil {
		err = e.query.Truncate(0)
	}
	if err == nil {
		_, err = e.query.WriteAt(append(text, '\n'), 0)
	}
	if err == nil {
		err = e.query.Sync()
	}
	if err == nil {
		e.File, err = os.OpenFile(partial, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	}
	return err
}

// resume opens the unfinished file and positions it behind the last whole line.
func (e *exportFile) resume(q exportQuery) error {
	partial := e.name + ".partial"
	f, err := os.OpenFile(partial, os.O_RDWR|noFollow, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return e.create(q)
	}
	if err != nil {
		return err
	}
	if err = e.verifyQuery(q); err == nil {
		err = f.Chmod(0o600)
	}
	if err == nil {
		e.last, err = cutToLastLine(f)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("resume %s: %w", partial, err), f.Close())
	}
	e.File = f
	return nil
}

// verifyQuery returns an error if the unfinished file is of another query.
func (e *exportFile) verifyQuery(q exportQuery) error {
	var of exportQuery
	text, err := io.ReadAll(io.LimitReader(e.query, maxQueryBytes))
	if err == nil {
		err = json.Unmarshal(text, &of)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s does not describe an export; export without --resume to start again", e.query.Name())
	case of != q:
		return fmt.Errorf("the file is of another export, %v, and this is %v; export without --resume to start again", of, q)
	}
	return nil
}

// complete renames the complete file to its name. If err is set the unfinished file stays for --resume.
func (e *exportFile) complete(err error) error {
	if err = console.SyncAndClose(e.File, err); err == nil {
		err = os.Rename(e.File.Name(), e.name)
	}
	if err == nil {
		err = os.Remove(e.query.Name())
	}
	return errors.Join(err, e.query.Close())
}
