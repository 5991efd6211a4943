//go:build unix

package transfer

import (
	"os"
	"syscall"
)

// noFollow makes os.OpenFile refuse a symbolic link.
const noFollow = syscall.O_NOFOLLOW

// tryLock takes the exclusive lock of f, which ends when f is closed, or fails at once when another process holds it.
func tryLock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
