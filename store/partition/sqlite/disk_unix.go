//go:build linux || darwin

package sqlite

import "syscall"

// freeBytes is the space that an ordinary user may still write in a directory.
func freeBytes(directory string) (int64, bool) {
	var s syscall.Statfs_t
	if syscall.Statfs(directory, &s) != nil {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true
}
