package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"

	"github.com/runnelkv/runnel/test/bench/internal/testbed"
)

// load returns the machine's load average.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// machine describes the processors and the memory.
func machine() string {
	model, memory := "unknown processor", ""
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(text); m != nil {
			model = string(m[1])
		}
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		line, _, _ := bytes.Cut(text, []byte("\n"))
		memory = ", " + strings.Join(strings.Fields(string(line))[1:], " ")
	}
	return fmt.Sprintf("%d × %s%s, %s/%s", runtime.NumCPU(), model, memory, runtime.GOOS, runtime.GOARCH)
}

// versions returns the version of every program.
func versions(runnel string) map[string]string {
	gogc := cmp.Or(os.Getenv("GOGC"), fmt.Sprintf("%d", testbed.GCPercent))
	all := map[string]string{"go": runtime.Version() + ", GOGC " + gogc}
	for name, command := range map[string][]string{
		"runnel":   {runnel, "version"},
		"mariadbd": {"mariadbd", "--version"},
		"redis":    {"redis-server", "--version"},
		"webdis":   {"dpkg-query", "-W", "-f", "${Version}", "webdis"},
		"etcd":     {"etcd", "--version"},
	} {
		out, err := exec.Command(command[0], command[1:]...).Output()
		if err == nil {
			line, _, _ := strings.Cut(string(out), "\n")
			all[name] = strings.TrimSpace(line)
		}
	}
	return all
}
