package servers

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/ory/dockertest/v3/docker"
)

const (
	// pullSilence is the time without progress after which a pull is given up, such
	// as from a registry that is unreachable.
	pullSilence = 20 * time.Second
	pullTimeout = 10 * time.Minute
)

// rootfsScript makes the file system of an image from Debian's packages.
//
//go:embed images/rootfs.sh
var rootfsScript string

// imageFor returns the image to run and makes sure that the engine has it. The
// package comment gives the order of preference. One process at a time pulls and
// builds images.
func imageFor(t testing.TB, client *docker.Client, k kind) (string, error) {
	wanted := os.Getenv(k.imageEnv)
	if image, found := findImage(client, wanted, k); found {
		return image, nil
	}
	unlock, err := lock(k.label + "-image")
	if err != nil {
		return "", err
	}
	defer unlock()
	if image, found := findImage(client, wanted, k); found {
		return image, nil
	}
	if wanted != "" {
		return wanted, pull(client, wanted)
	}
	pullErr := pull(client, k.official)
	if pullErr == nil {
		return k.official, nil
	}
	t.Logf("no %s (%v): building %s, which takes about a minute", k.official, pullErr, k.built)
	if err := build(client, k); err != nil {
		return "", errors.Join(pullErr, err)
	}
	return k.built, nil
}

// findImage returns the first candidate that the engine has.
func findImage(client *docker.Client, wanted string, k kind) (image string, found bool) {
	candidates := []string{k.official, k.built}
	if wanted != "" {
		candidates = []string{wanted}
	}
	for _, image := range candidates {
		if _, err := client.InspectImage(image); err == nil {
			return image, true
		}
	}
	return "", false
}

func pull(client *docker.Client, image string) error {
	ctx, cancel := context.WithTimeout(context.Background(), pullTimeout)
	defer cancel()
	silence := time.AfterFunc(pullSilence, cancel)
	defer silence.Stop()
	repository, tag := docker.ParseRepositoryTag(image)
	err := client.PullImage(docker.PullImageOptions{
		Repository:   repository,
		Tag:          tag,
		OutputStream: onWrite(func() { silence.Reset(pullSilence) }),
		Context:      ctx,
	}, docker.AuthConfiguration{})
	if err != nil {
		return fmt.Errorf("pull %s: %w", image, err)
	}
	return nil
}

// build makes the image k.built from an archive of a file system. The archive is
// complete on disk before the import, so that a truncated archive never becomes an
// image. The archive is in /var/tmp as debootstrap's files are, because /tmp may be
// in memory and mounted nodev.
func build(client *docker.Client, k kind) error {
	archive, err := os.CreateTemp("/var/tmp", "runnel-test-*.tar")
	if err != nil {
		return err
	}
	defer os.Remove(archive.Name())
	defer archive.Close()

	command := []string{"sh", "-c", rootfsScript, "rootfs.sh", k.suite, k.pkg}
	if os.Getuid() != 0 {
		command = append([]string{"sudo", "-n"}, command...)
	}
	var messages bytes.Buffer
	script := exec.Command(command[0], command[1:]...)
	script.Stdout, script.Stderr = archive, &messages
	if err := script.Run(); err != nil {
		return fmt.Errorf("build %s (as root, or name an image in %s): %w\n%s", k.built, k.imageEnv, err, &messages)
	}

	repository, tag := docker.ParseRepositoryTag(k.built)
	if err := client.ImportImage(docker.ImportImageOptions{Repository: repository, Tag: tag, Source: archive.Name()}); err != nil {
		return fmt.Errorf("import %s: %w", k.built, err)
	}
	return nil
}

// onWrite is a writer that discards the text and calls a function.
type onWrite func()

func (f onWrite) Write(p []byte) (int, error) { f(); return len(p), nil }
