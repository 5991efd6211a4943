package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// writeFile makes path hold all of r, readable by its owner only, or leaves it as it was.
func writeFile(path string, r io.Reader) error {
	if err := checkTarget(path); err != nil {
		return err
	}
	// A name of its own: nothing that another user or command has put there is written through or replaced.
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".partial*")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err = finishFile(f, err); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// checkTarget refuses a path at which something other than a file is: a directory, or a device that a rename would
// replace.
func checkTarget(path string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is there and is not a regular file", path)
	}
	return nil
}

// finishFile closes f, durably if all before went well.
func finishFile(f *os.File, err error) error {
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
