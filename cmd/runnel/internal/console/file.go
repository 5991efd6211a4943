package console

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ReplaceFile writes all of r to a file that only its owner can read. On failure the former file stays. The file appears
// as a whole, and durably.
func ReplaceFile(path string, r io.Reader) error {
	if err := CheckTarget(path); err != nil {
		return err
	}
	// A name of its own: nothing that another user or command has put there is written through or replaced.
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".partial*")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err = SyncAndClose(f, err); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// CheckTarget refuses a path at which something other than a file is: a directory, or a device that a rename would
// replace.
func CheckTarget(path string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is there and is not a regular file", path)
	}
	return nil
}

// SyncAndClose closes f, and syncs it first if err is nil. It returns the first error.
func SyncAndClose(f *os.File, err error) error {
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
