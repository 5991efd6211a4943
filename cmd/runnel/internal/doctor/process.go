package doctor

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// process returns the folder of the examined process, and the name of its findings.
func (e *examination) process() (folder, subject string) {
	if e.PID == 0 {
		return e.proc + "/self", "this account"
	}
	return e.proc + "/" + strconv.Itoa(e.PID), fmt.Sprintf("process %d", e.PID)
}

// field returns a field of the process's status; "" if the field cannot be read.
func (e *examination) field(name string) string {
	folder, _ := e.process()
	text, _ := os.ReadFile(folder + "/status") // an error leaves the text empty
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, name+":"); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (e *examination) account() {
	_, subject := e.process()
	switch ids := strings.Fields(e.field("Uid")); {
	case len(ids) < 2:
		e.add(Fail, subject, "the user of the process cannot be read")
	case ids[1] == "0":
		e.add(Warn, subject, "runs as root: a fault in Runnel would be a fault of the whole machine; use an account of its own")
	default:
		e.add(OK, subject, "is not root")
	}
}

func (e *examination) privileges() {
	_, subject := e.process()
	if e.PID == 0 {
		e.add(Skip, "", "not checked without --pid")
		return
	}
	gains := e.field("NoNewPrivs")
	if gains == "" {
		e.add(Fail, subject, "the privileges of the process cannot be read")
		return
	}
	before := len(e.findings)
	if gains != "1" {
		e.add(Warn, subject, "can gain privileges by programs with set-user-ID: set NoNewPrivileges=yes, as deploy/runnel.service does")
	}
	if capabilities := e.field("CapPrm"); strings.Trim(capabilities, "0") != "" {
		e.add(Warn, subject, "holds the capabilities %s, and needs none", capabilities)
	}
	if strings.Trim(e.field("Seccomp"), "0") == "" {
		e.add(Warn, subject, "may make every system call: set SystemCallFilter=@system-service, as deploy/runnel.service does")
	}
	if len(e.findings) == before {
		e.add(OK, subject, "cannot gain privileges, holds no capability, and has a filter of system calls")
	}
}

// coreLimit matches the soft limit of core files in /proc/PID/limits.
var coreLimit = regexp.MustCompile(`(?m)^Max core file size +(\S+)`)

func (e *examination) coreDumps() {
	folder, subject := e.process()
	limits, _ := os.ReadFile(folder + "/limits") // an error leaves the text empty
	limit := coreLimit.FindSubmatch(limits)
	environment, err := os.ReadFile(folder + "/environ")
	switch {
	case limit == nil:
		e.add(Warn, subject, "the limit of core files cannot be read")
	case string(limit[1]) == "0":
		e.add(OK, subject, "writes no core files")
	case err != nil:
		e.add(Warn, subject, "may write core files, and the environment cannot be read: %v", err)
	case bytes.Contains(append([]byte{0}, environment...), []byte("\x00GOTRACEBACK=crash")):
		e.add(Fail, subject, "writes its memory, with values and passwords, into a core file after a crash: remove GOTRACEBACK=crash, or set LimitCORE=0")
	default:
		e.add(OK, subject, "writes core files with GOTRACEBACK=crash only, which is not set")
	}
}

func (e *examination) swap() {
	text, err := os.ReadFile("/proc/swaps")
	if err != nil {
		e.add(Warn, "", "/proc/swaps cannot be read: %v", err)
		return
	}
	devices := strings.Split(strings.TrimSpace(string(text)), "\n")[1:] // after the title
	for _, line := range devices {
		device, _, _ := strings.Cut(line, " ")
		e.add(Warn, device, "values and passwords in memory may be written to this swap space: encrypt the swap space, or use none")
	}
	if len(devices) == 0 {
		e.add(OK, "", "there is no swap space")
	}
}
