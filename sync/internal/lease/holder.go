package lease

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// thisProcess distinguishes this process from an earlier one with the same number,
// such as the first process of a container.
var thisProcess = rand.Text()[:8]

// NewHolder returns a unique name for a holder of leases: host-pid-process-random.
func NewHolder() string {
	return fmt.Sprintf("%s-%d-%s-%s", hostName(), os.Getpid(), thisProcess, rand.Text()[:8])
}

func hostName() string {
	host, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return host
}

// HasEnded reports whether a holder was a process of this host that no longer exists.
// The answer may be wrong, because hosts and containers may have equal names. A caller
// therefore acts on it once per lease; a wrong answer merely causes some work to be done twice.
func HasEnded(holder string) bool {
	rest, found := strings.CutPrefix(holder, hostName()+"-")
	parts := strings.Split(rest, "-")
	if !found || len(parts) != 3 {
		return false
	}
	pid, err := strconv.Atoi(parts[0])
	if err != nil || pid <= 0 {
		return false
	}
	if pid == os.Getpid() {
		return parts[1] != thisProcess
	}
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}
