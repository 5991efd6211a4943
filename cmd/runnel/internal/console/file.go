package console

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ReplaceFile replaces the file at path by a file with all of r, durably and as a whole. Only the owner can read the new
// file. On failure the former file stays.
func ReplaceFile(path string, r io.Reader) error {
	if err := CheckTarget(path); err != nil {
		return err
	}
	// A unique name: a file or link that another user or command has created is neither written nor replaced.
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

// CheckTarget rejects a path of a directory, or of a device, which a rename would replace.
func CheckTarget(path string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s exists and is not a regular file", path)
	}
	return nil
}

// SyncAndClose syncs f unless err is set, closes f, and returns the first error.
func SyncAndClose(f *os.File, err error) error {
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
