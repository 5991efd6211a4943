package files

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
)

// client runs a tool with the settings of docs/files.md.
type client struct {
	t   *testing.T
	dir string
	env []string
}

func (c *client) run(name string, args ...string) string {
	c.t.Helper()
	out, err := c.try(name, args...)
	if err != nil {
		c.t.Fatalf("%s %s: %v\n%.3000s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// try runs a tool that may fail.
func (c *client) try(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = c.dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}, c.env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// requireTool skips the test without the tool; in CI the test fails.
func requireTool(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("RUNNEL_TEST_REQUIRE_SERVERS") == "1" {
			t.Fatalf("%s is not installed: see .ci/run", name)
		}
		t.Skipf("%s is not installed", name)
	}
}

// newClient starts a server with API keys and the door of S3, and returns a client with the secret of a key.
func newClient(t *testing.T) (c *client, endpoint string) {
	t.Helper()
	dir := t.TempDir()
	endpoint = runnel.FreeAddress(t)
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(strings.Repeat("s", 40)), 0o600); err != nil {
		t.Fatal(err)
	}
	file := runnel.WriteConfig(t, fmt.Sprintf("[s3]\nlisten = %q\n[auth]\nsecret_file = %q\n", endpoint, secret), runnel.ThreeFiles(t)...)
	if _, err := runnel.Run(t, "key", "create", "admin", "--role", "admin", "--config", file); err != nil {
		t.Fatal(err)
	}
	if _, err := runnel.Run(t, "key", "create", "tools", "--write", "bucket/", "--config", file); err != nil {
		t.Fatal(err)
	}
	runnel.Serve(t, "--config", file)
	out, err := runnel.Run(t, "key", "s3", "tools", "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	env := strings.Fields(strings.TrimPrefix(out, "export "))
	if len(env) != 2 {
		t.Fatalf("runnel key s3 printed %q", out)
	}
	return &client{t, dir, append(env, "HOME="+dir, "AWS_DEFAULT_REGION=us-east-1", "RESTIC_PASSWORD=secret", "RCLONE_CONFIG="+filepath.Join(dir, "rclone.conf"))}, endpoint
}

// writeTree writes n files of different sizes below a directory.
func writeTree(t *testing.T, dir string, n int) {
	t.Helper()
	for i := range n {
		content, err := io.ReadAll(newPattern(int64(i*i)%200_000, byte(i)))
		path := filepath.Join(dir, fmt.Sprintf("d%d", i%7), fmt.Sprintf("file %d ü", i))
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o755)
		}
		if err == nil {
			err = os.WriteFile(path, content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestRealClients(t *testing.T) {
	t.Run("rclone", func(t *testing.T) {
		requireTool(t, "rclone")
		c, endpoint := newClient(t)
		c.run("rclone", "config", "create", "runnel", "s3", "provider=Other", "env_auth=true", "endpoint=http://"+endpoint)
		writeTree(t, filepath.Join(c.dir, "up"), runnel.Rounds(200, 1000))
		c.run("rclone", "mkdir", "runnel:bucket")
		c.run("rclone", "copy", "up", "runnel:bucket/tree")
		c.run("rclone", "check", "--download", "up", "runnel:bucket/tree")
		c.run("rclone", "copy", "runnel:bucket/tree", "down")
		c.run("diff", "-r", "up", "down")
		c.run("rclone", "delete", "runnel:bucket/tree")
		if out := c.run("rclone", "lsf", "-R", "--files-only", "runnel:bucket"); out != "" {
			t.Errorf("left after the deletion:\n%s", out)
		}
	})
	t.Run("restic", func(t *testing.T) {
		requireTool(t, "restic")
		c, endpoint := newClient(t)
		repository := "s3:http://" + endpoint + "/bucket"
		writeTree(t, filepath.Join(c.dir, "up"), 60)
		c.run("restic", "-r", repository, "init")
		c.run("restic", "-r", repository, "backup", "up")
		c.run("restic", "-r", repository, "check", "--read-data")
		c.run("restic", "-r", repository, "forget", "--keep-last", "1", "--prune")
		c.run("restic", "-r", repository, "restore", "latest", "--target", "down")
		c.run("diff", "-r", "up", filepath.Join("down", "up"))
	})
	t.Run("s3cmd", func(t *testing.T) {
		requireTool(t, "s3cmd")
		c, endpoint := newClient(t)
		content, err := io.ReadAll(newPattern(20<<20, 3))
		if err == nil {
			err = os.WriteFile(filepath.Join(c.dir, "big"), content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		s3cmd := func(args ...string) {
			t.Helper()
			c.run("s3cmd", append([]string{"--host=" + endpoint, "--host-bucket=", "--no-ssl", "--multipart-chunk-size-mb=5"}, args...)...)
		}
		s3cmd("mb", "s3://bucket")
		s3cmd("put", "big", "s3://bucket/big") // in four parts
		s3cmd("get", "s3://bucket/big", "down")
		c.run("cmp", "big", "down")
		s3cmd("del", "s3://bucket/big")
	})
	t.Run("aws", func(t *testing.T) { useAWS(t) })
}

// useAWS uses the command line of Amazon, which adds checksums to bodies by default since 2.23.
func useAWS(t *testing.T) {
	requireTool(t, "aws")
	c, endpoint := newClient(t)
	aws := func(args ...string) string {
		t.Helper()
		return c.run("aws", append([]string{"--endpoint-url", "http://" + endpoint}, args...)...)
	}
	writeTree(t, filepath.Join(c.dir, "up"), 20)
	content, err := io.ReadAll(newPattern(20<<20, 5))
	if err == nil {
		err = os.WriteFile(filepath.Join(c.dir, "up", "big"), content, 0o644) // in three parts
	}
	if err != nil {
		t.Fatal(err)
	}
	aws("s3", "mb", "s3://bucket")
	aws("s3", "cp", "--no-progress", "--recursive", "up", "s3://bucket/tree")
	aws("s3", "sync", "--no-progress", "s3://bucket/tree", "down")
	c.run("diff", "-r", "up", "down")
	out, err := c.try("aws", "--endpoint-url", "http://"+endpoint, "s3api", "put-object", "--bucket", "bucket", "--key", "tree/big", "--body", "up/big", "--if-none-match", "*")
	switch isOld := strings.Contains(out, "Unknown options"); {
	case isOld:
		t.Log("this version of aws has no conditional put")
	case err == nil || !strings.Contains(out, "PreconditionFailed"):
		t.Errorf("a conditional put of an object that exists: %v\n%s", err, out)
	}
	aws("s3", "rm", "--recursive", "s3://bucket")
}
