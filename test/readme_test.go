package test

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// The commands of README.md and docs/tour.md stand in fenced blocks:
//
//	sh      run in order, in one bash for each page, in a directory that starts empty
//	text    what the sh block before it prints; … stands for anything in a line
//	sql     run on the MariaDB and the MySQL server
//
// A block of make only has to name targets of the Makefile. The comment
// "<!-- test: stop the server -->" ends the server that "make run" started.
// Addresses, accounts and databases are replaced by those of the test.

// fence is a fenced block.
type fence struct {
	language string
	text     string
	line     int
	stop     bool // the comment precedes the block
}

var fenced = regexp.MustCompile("(?ms)^(<!-- test: stop the server -->\n)?```([a-z]*)\n(.*?)^```$")

func fencesOf(t testing.TB, file string) (fences []fence) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range fenced.FindAllSubmatchIndex(text, -1) {
		fences = append(fences, fence{
			language: string(text[m[4]:m[5]]), text: string(text[m[6]:m[7]]),
			line: 1 + bytes.Count(text[:m[4]], []byte("\n")), stop: m[2] >= 0,
		})
	}
	return fences
}

// TestReadmeAndTourSayWhatHappens runs every command of both pages and compares
// the output.
func TestReadmeAndTourSayWhatHappens(t *testing.T) {
	t.Run("README", func(t *testing.T) { runPage(t, "../README.md", 1) })
	t.Run("tour", func(t *testing.T) { runPage(t, "../docs/tour.md", 10) })
}

// runPage runs the blocks of a page against a new server. At least atLeast blocks must print something.
func runPage(t *testing.T, page string, atLeast int) {
	tour := newTour(t)
	var script strings.Builder
	script.WriteString("set -euo pipefail\n")
	var blocks, expected []fence // expected[i] belongs to blocks[i]
	for _, f := range fencesOf(t, page) {
		switch {
		case f.language == "sh" && strings.HasPrefix(f.text, "make "):
			hasTargets(t, page, f)
		case f.language == "sh":
			if f.stop {
				fmt.Fprintf(&script, "kill %d; tail --pid=%d -f /dev/null\n", tour.node.PID(), tour.node.PID())
			}
			fmt.Fprintf(&script, "%s\necho '@@@'\n", tour.replace.Replace(f.text))
			blocks, expected = append(blocks, f), append(expected, fence{})
		case f.language == "text" && len(blocks) > 0:
			expected[len(blocks)-1] = f
		case f.language == "sql":
			tour.grant(t, f.text)
		default:
			t.Errorf("%s:%d: a block of %q is not run by this test", page, f.line, f.language)
		}
	}
	if len(blocks) < atLeast {
		t.Fatalf("only %d blocks found", len(blocks))
	}
	printed := strings.Split(tour.bash(t, script.String()), "@@@\n")
	for i, f := range blocks {
		if i >= len(printed) || i == len(printed)-1 {
			t.Errorf("%s:%d: failed, or was not reached", page, f.line)
			break
		}
		if !matches(expected[i].text, printed[i]) {
			t.Errorf("%s:%d printed\n%s\nand not\n%s", page, f.line, printed[i], expected[i].text)
		}
	}
}

// matches compares the output with the documented text, line by line.
func matches(said, printed string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(said), "…", ".*")
	return regexp.MustCompile(`^` + pattern + `$`).MatchString(printed)
}

func TestMatchesKnowsTheDifference(t *testing.T) {
	for _, c := range []struct {
		said, printed string
		same          bool
	}{
		{"a\nb\n", "a\nb\n", true}, {"a\n", "a\nb\n", false}, {"", "a\n", false}, {"a …\n", "a b c\n", true},
		{"a …\n", "a b\nc\n", false}, {"a.c\n", "abc\n", false}, {"", "", true},
	} {
		if matches(c.said, c.printed) != c.same {
			t.Errorf("%q against %q: not %t", c.printed, c.said, c.same)
		}
	}
}

// hasTargets checks that each make command names a target of the Makefile.
func hasTargets(t testing.TB, page string, f fence) {
	t.Helper()
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for command := range strings.Lines(f.text) {
		target := strings.TrimSpace(strings.TrimPrefix(command, "make "))
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(target) + `:`).Match(makefile) {
			t.Errorf("%s:%d: the Makefile has no target %q", page, f.line, target)
		}
	}
}

// tour is the environment in which the commands of a page run.
type tour struct {
	dir     string
	node    *runnel.Process // the server that "make run" starts
	replace *strings.Replacer
	mysql   []*servers.Server
	users   []*url.URL // a URL with an account and a database on each server
}

func newTour(t *testing.T) *tour {
	t.Helper()
	path, err := runnel.Binary()
	if err != nil {
		t.Fatal(err)
	}
	to := &tour{dir: t.TempDir(), mysql: []*servers.Server{servers.MariaDB(t), servers.MySQL(t)}}
	if err := os.Mkdir(filepath.Join(to.dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, filepath.Join(to.dir, "bin", "runnel")); err != nil {
		t.Fatal(err)
	}
	to.node = runnel.Serve(t, "--data", filepath.Join(to.dir, "data"))
	replace := []string{"127.0.0.1:8080", strings.TrimPrefix(to.node.URL, "http://")}
	for i, server := range to.mysql {
		account, err := url.Parse(server.User(t, server.Vacant(t)))
		if err != nil {
			t.Fatal(err)
		}
		to.users = append(to.users, account)
		replace = append(replace, fmt.Sprintf("mysql://runnel:${DB_PASSWORD}@10.0.0.%d:3306/store_1", 5+i),
			fmt.Sprintf("mysql://%s:${DB_PASSWORD}@%s%s", account.User.Username(), account.Host, account.Path))
	}
	to.replace = strings.NewReplacer(replace...)
	return to
}

// grant runs the page's SQL on both servers, for the accounts and databases of
// the test.
func (to *tour) grant(t testing.TB, statements string) {
	t.Helper()
	for i, server := range to.mysql {
		account := to.users[i]
		here := strings.NewReplacer("'runnel'", "'"+account.User.Username()+"'", `store\_1`, strings.TrimPrefix(account.Path, "/"), "store_1", strings.TrimPrefix(account.Path, "/"))
		db := servers.Open(t, server.Database(t)) // as root
		if _, err := db.ExecContext(t.Context(), "DROP USER "+account.User.Username()+"@'%'"); err != nil {
			t.Fatal(err)
		}
		for statement := range strings.Lines(statements) {
			if _, err := db.ExecContext(t.Context(), here.Replace(strings.TrimSuffix(strings.TrimSpace(statement), ";"))); err != nil {
				t.Errorf("%s: %v", statement, err)
			}
		}
	}
}

// bash runs the script and returns its output. All processes of the script end with bash.
func (to *tour) bash(t testing.TB, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = to.dir
	cmd.Env = append(os.Environ(), "RUNNEL_SERVER="+to.node.URL, "GORACE=halt_on_error=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // fails if the group has ended
	if err != nil {
		t.Errorf("the commands: %v\n%s", err, errs.String())
	}
	for _, log := range []string{"runnel.log", "mysql.log"} {
		text, _ := os.ReadFile(filepath.Join(to.dir, log))
		if t.Failed() || bytes.Contains(text, []byte("DATA RACE")) {
			t.Errorf("%s:\n%s", log, text)
		}
	}
	return out.String()
}
