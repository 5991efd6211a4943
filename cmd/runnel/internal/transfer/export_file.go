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

// exportQuery is what an export was asked for, as it is kept beside its unfinished file.
type exportQuery struct {
	Format       int    `json:"format"` // of the lines
	Server       string `json:"server"`
	Prefix       string `json:"prefix"`
	Consistency  string `json:"consistency"`
	MaxStaleness string `json:"max_staleness"`
}

// maxQueryBytes bounds the file of a query.
const maxQueryBytes = 64 << 10

// exportFormat is the version of the lines that this program writes.
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

// exportFile is the unfinished file of an export, NAME.partial, and its query, NAME.partial.json, whose lock keeps
// other exports to the same name away.
type exportFile struct {
	*os.File        // where the next line goes
	last     string // the last key that it holds; "" for none
	name     string
	query    *os.File
}

// openExport begins the unfinished file of name, or with resume takes up the one that an export with the same query
// has left.
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
		err = e.takeUp(q)
	} else {
		err = e.begin(q)
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
		if err == nil && os.SameFile(held, there) { // otherwise its holder has just ended
			return f, f.Chmod(0o600)
		}
	}
	return nil, errors.Join(fmt.Errorf("another export holds %s", name), f.Close())
}

// begin makes both files anew. Neither is written through a link, or into a file that others can read.
func (e *exportFile) begin(q exportQuery) error {
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

// takeUp opens the file for the lines behind its last whole one.
func (e *exportFile) takeUp(q exportQuery) error {
	partial := e.name + ".partial"
	f, err := os.OpenFile(partial, os.O_RDWR|noFollow, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return e.begin(q)
	}
	if err != nil {
		return err
	}
	if err = e.check(q); err == nil {
		err = f.Chmod(0o600)
	}
	if err == nil {
		e.last, err = cutToLastLine(f)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("take up %s: %w", partial, err), f.Close())
	}
	e.File = f
	return nil
}

// check refuses to go on with what another query has left.
func (e *exportFile) check(q exportQuery) error {
	var of exportQuery
	text, err := io.ReadAll(io.LimitReader(e.query, maxQueryBytes))
	if err == nil {
		err = json.Unmarshal(text, &of)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s does not say which export left it; export without --resume to begin anew", e.query.Name())
	case of != q:
		return fmt.Errorf("it is of another export, %v, and this is %v; export without --resume to begin anew", of, q)
	}
	return nil
}

// end puts the whole file in its place, or leaves it for --resume if err stands in the way.
func (e *exportFile) end(err error) error {
	if err = console.SyncAndClose(e.File, err); err == nil {
		err = os.Rename(e.File.Name(), e.name)
	}
	if err == nil {
		err = os.Remove(e.query.Name())
	}
	return errors.Join(err, e.query.Close())
}
