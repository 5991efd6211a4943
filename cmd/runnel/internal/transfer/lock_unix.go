//go:build unix

package transfer

import (
	"os"
	"syscall"
)

// noFollow makes os.OpenFile fail for a symbolic link.
const noFollow = syscall.O_NOFOLLOW

// tryLock takes the exclusive lock of f, or fails at once if another process holds the lock. Closing f releases the lock.
func tryLock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
