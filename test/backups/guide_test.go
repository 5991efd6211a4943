package backups

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// guide runs the commands of docs/backup.md on a partition.
type guide struct {
	dir     string            // the commands' working directory and home
	names   *strings.Replacer // of the page's file, database and configuration
	backup  string            // first words of the command that backs up, and of those that restore
	restore []string
}

// TestGuideForTheDatabasesToolsWorks follows the page: a master is backed up during writes, the process is killed, and the
// master is set back. It then has every write that the replica holds.
func TestGuideForTheDatabasesToolsWorks(t *testing.T) {
	for kind, create := range map[string]func(t *testing.T) (file string, g guide){"SQLite": guideOnFiles, "MariaDB": guideOnServer} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			file, g := create(t)
			node := runnel.Serve(t, "--config", file)
			l := &load{url: node.URL}
			stop := l.run(t)
			l.awaitMore(t, 200)
			g.run(t, g.backup)
			l.awaitMore(t, 200)
			stop()
			runnel.Eventually(t, time.Minute, "a level pass", func() error {
				_, err := runnel.Run(t, "sync", "--now", "--server", node.URL)
				return err
			})
			node.Kill()
			before := read(t, file, 1)
			for _, command := range g.restore {
				g.run(t, command)
			}
			if set := read(t, file, 0); set.at["partition-0"].Revision >= before.at["partition-0"].Revision {
				t.Errorf("the master is at %+v, and was not set back", set.at["partition-0"])
			}
			runnel.Eventually(t, time.Minute, "the end of the killed process's lease", func() error {
				return g.try(t, "runnel restore")
			})
			runnel.Serve(t, "--config", file)
			runnel.NoFaults(t, "writes that the replica held", lost(before, read(t, file, 0)))
		})
	}
}

func guideOnFiles(t *testing.T) (string, guide) {
	requireProgram(t, "sqlite3")
	urls := runnel.ThreeFiles(t)[:2]
	file, dir := runnel.WriteConfig(t, "", urls...), t.TempDir()
	names := strings.NewReplacer("data/partition-1.db", strings.TrimPrefix(urls[0], "sqlite:"), "/etc/runnel.toml", file)
	return file, guide{dir, names, "sqlite3", []string{"rm", "cp"}}
}

func guideOnServer(t *testing.T) (string, guide) {
	requireProgram(t, "mariadb-dump")
	server := servers.MariaDB(t)
	urls := []string{server.Database(t), server.Database(t)}
	file, dir := runnel.WriteConfig(t, "", urls...), t.TempDir()
	u, err := url.Parse(urls[0])
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(u.Host)
	password, _ := u.User.Password()
	account := fmt.Sprintf("[client]\nhost=%s\nport=%s\nuser=%s\npassword=%s\n", host, port, u.User.Username(), password)
	if err := os.WriteFile(filepath.Join(dir, ".my.cnf"), []byte(account), 0o600); err != nil {
		t.Fatal(err)
	}
	names := strings.NewReplacer("store_1", strings.TrimPrefix(u.Path, "/"), "/etc/runnel.toml", file)
	return file, guide{dir, names, "mariadb-dump", []string{"mariadb -e", "mariadb store_1"}}
}

// requireProgram skips the test on a machine without a program that test/servers/prepare.sh installs.
func requireProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("SKIPPED, run test/servers/prepare.sh: %v", err)
	}
}

// run runs a command of the page.
func (g guide) run(t *testing.T, words string) {
	t.Helper()
	if err := g.try(t, words); err != nil {
		t.Fatal(err)
	}
}

// try runs the only indented line that begins with some words, among those for the database's own tools.
func (g guide) try(t *testing.T, words string) error {
	t.Helper()
	page, err := os.ReadFile("../../docs/backup.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## Use the database's own tools\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var found []string
	for line := range strings.Lines(section) {
		if text := strings.TrimSpace(line); strings.HasPrefix(line, "    ") && strings.HasPrefix(text, words+" ") {
			found = append(found, text)
		}
	}
	if len(found) != 1 {
		t.Fatalf("docs/backup.md has %d commands that begin with %q", len(found), words)
	}
	binary, err := runnel.Binary()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "sh", "-c", "umask 077; "+g.names.Replace(found[0]))
	command.Dir, command.Env = g.dir, append(os.Environ(), "HOME="+g.dir, "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", found[0], err, out)
	}
	return nil
}
