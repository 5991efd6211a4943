package hardening

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestUnitIsHardened keeps the settings of deploy/runnel.service, and has systemd judge them where systemd can be had. The
// folders that the documentation names are those that the unit may write to.
func TestUnitIsHardened(t *testing.T) {
	const unit = "../../deploy/runnel.service"
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{
		"User=runnel", "UMask=0077", "LimitCORE=0", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "PrivateDevices=yes",
		"ProtectProc=invisible", "MemoryDenyWriteExecute=yes", "RestrictSUIDSGID=yes", "SystemCallFilter=@system-service", "SystemCallArchitectures=native",
	} {
		if !strings.Contains(string(text), "\n"+setting+"\n") {
			t.Errorf("%s lacks %s", unit, setting)
		}
	}
	guide, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for folder, setting := range map[string]string{"/var/lib/": "StateDirectory=", "/var/log/": "LogsDirectory="} {
		names := regexp.MustCompile(folder+`([a-z0-9]+)`).FindAllSubmatch(guide, -1)
		for _, name := range names {
			if !strings.Contains(string(text), "\n"+setting+string(name[1])+"\n") {
				t.Errorf("the documentation writes to %s, and %s lacks the %s", name[0], unit, setting)
			}
		}
		if len(names) == 0 {
			t.Errorf("the documentation names no folder in %s", folder)
		}
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("SKIPPED, the rest needs systemd-analyze: ", err)
	}
	// The exposure is between 0 and 10, and the threshold ten times that.
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", unit).CombinedOutput()
	if err != nil {
		t.Errorf("systemd calls the unit exposed: %v\n%s", err, out)
	}
	runnable := filepath.Join(t.TempDir(), "runnel.service") // verify wants a program that exists
	if err := os.WriteFile(runnable, bytes.Replace(text, []byte("/usr/local/bin/runnel"), []byte("/bin/true"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	// The exit status counts other units of the machine too.
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", runnable).CombinedOutput(); bytes.Contains(out, []byte("runnel.service")) {
		t.Errorf("systemd does not understand the unit: %v\n%s", err, out)
	}
}
