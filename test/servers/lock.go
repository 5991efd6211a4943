package servers

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lock waits for the machine-wide lock of the name, which keeps test binaries of
// several packages from building the same image or starting the same server at
// once. The system releases the lock if this process dies.
func lock(name string) (unlock func(), err error) {
	path := filepath.Join(os.TempDir(), "runnel-test-"+name+".lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
