package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ory/dockertest/v3"
	"github.com/ory/dockertest/v3/docker"
)

const (
	// label marks every container of this package. Its value is "shared" or "own".
	label = "runnel-test"
	// containerDirectory is a volume, because a container's own file system may be
	// slow (fuse-overlayfs) and does not promise that fsync is durable.
	containerDirectory = "/srv/runnel"
	containerPort      = docker.Port("3306/tcp")
	// A container older than ownLifetime was left behind by a crashed run. A shared
	// container older than sharedLifetime is replaced.
	ownLifetime    = time.Hour
	sharedLifetime = 24 * time.Hour
)

var errNoEngine = errors.New("no Docker engine answers")

// dockerHost runs servers in containers of one image.
type dockerHost struct {
	pool  *dockertest.Pool
	image string
}

// newDocker returns errNoEngine without a Docker engine, and errNotHere with an
// engine that has no image of the server.
func newDocker(t testing.TB, k kind) (*dockerHost, error) {
	pool, err := dockertest.NewPool("")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoEngine, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := pool.Client.PingWithContext(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoEngine, err)
	}
	image, err := imageFor(t, pool.Client, k)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotHere, err)
	}
	return &dockerHost{pool: pool, image: image}, nil
}

func (h *dockerHost) id() string { return h.image }

// start tries three ports, because another process may take a free port before
// the container does.
func (h *dockerHost) start(k kind, name string, arguments []string) (*Server, error) {
	for attempt := 1; ; attempt++ {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		c, err := h.run(k, name, port, arguments)
		if err == nil {
			return &Server{kind: k, port: port, engine: &container{h.pool.Client, c.Container.ID}}, nil
		}
		h.removeByName(name)
		if attempt == 3 {
			return nil, fmt.Errorf("run %s of %s: %w", name, h.image, err)
		}
	}
}

func (h *dockerHost) run(k kind, name string, port int, arguments []string) (*dockertest.Resource, error) {
	repository, tag := docker.ParseRepositoryTag(h.image)
	command := append([]string{"-c", serveScript, "serve.sh", k.daemon, containerDirectory, "--port=3306"}, k.flags(arguments)...)
	use, _, _ := strings.Cut(strings.TrimPrefix(name, "runnel-test-"+k.label+"-"), "-")
	return h.pool.RunWithOptions(&dockertest.RunOptions{
		Name:         name,
		Repository:   repository,
		Tag:          tag,
		Entrypoint:   []string{"sh"},
		Cmd:          command,
		Env:          []string{"ROOT_PASSWORD=" + rootPassword},
		User:         "root",
		Labels:       map[string]string{label: use},
		ExposedPorts: []string{string(containerPort)},
		PortBindings: map[docker.Port][]docker.PortBinding{
			containerPort: {{HostIP: "127.0.0.1", HostPort: strconv.Itoa(port)}},
		},
	}, func(c *docker.HostConfig) {
		c.PublishAllPorts = false // true would publish every port that the image exposes
		c.Mounts = []docker.HostMount{{Type: "volume", Target: containerDirectory}}
	})
}

func (h *dockerHost) find(k kind, name string) *Server {
	c, err := h.pool.Client.InspectContainer(name)
	if err != nil || !c.State.Running || c.State.Paused {
		return nil
	}
	bindings := c.HostConfig.PortBindings[containerPort]
	if len(bindings) != 1 {
		return nil
	}
	port, err := strconv.Atoi(bindings[0].HostPort)
	if err != nil {
		return nil
	}
	return &Server{kind: k, port: port, engine: &container{h.pool.Client, c.ID}}
}

func (h *dockerHost) clear(name string) error {
	all, err := h.pool.Client.ListContainers(docker.ListContainersOptions{
		All:     true,
		Filters: map[string][]string{"label": {label}},
	})
	if err != nil {
		return err
	}
	lifetimes := map[string]time.Duration{"own": ownLifetime, "shared": sharedLifetime}
	for _, c := range all {
		isNamed := len(c.Names) > 0 && c.Names[0] == "/"+name
		if isNamed || time.Since(time.Unix(c.Created, 0)) > lifetimes[c.Labels[label]] {
			if err := (&container{h.pool.Client, c.ID}).remove(); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeByName removes the container that a failed start may have left.
func (h *dockerHost) removeByName(name string) {
	if c, err := h.pool.Client.InspectContainer(name); err == nil {
		(&container{h.pool.Client, c.ID}).remove()
	}
}

// container is the engine of a server on Docker.
type container struct {
	client *docker.Client
	id     string
}

func (c *container) start() error {
	return repeatRefused(refusalTimeout, func() error { return c.client.StartContainer(c.id, nil) })
}

func (c *container) pause() error {
	return repeatRefused(refusalTimeout, func() error { return c.client.PauseContainer(c.id) })
}

func (c *container) unpause() error {
	return repeatRefused(refusalTimeout, func() error { return c.client.UnpauseContainer(c.id) })
}

// stop sends SIGTERM in place of calling "docker stop". dockertest gives its
// containers a stop signal that a server ignores, so "docker stop" would kill.
func (c *container) stop(ctx context.Context) error {
	return c.signal(ctx, docker.SIGTERM)
}

func (c *container) kill() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return c.signal(ctx, docker.SIGKILL)
}

// signal sends the signal and waits until the server has ended.
func (c *container) signal(ctx context.Context, signal docker.Signal) error {
	err := repeatRefused(refusalTimeout, func() error {
		return c.client.KillContainer(docker.KillContainerOptions{ID: c.id, Signal: signal, Context: ctx})
	})
	if err != nil {
		return err
	}
	_, err = c.client.WaitContainerWithContext(c.id, ctx)
	return err
}

func (c *container) remove() error {
	err := c.client.RemoveContainer(docker.RemoveContainerOptions{ID: c.id, Force: true, RemoveVolumes: true})
	var gone *docker.NoSuchContainer
	if errors.As(err, &gone) {
		return nil // another test binary removed the container
	}
	return err
}

func (c *container) running() bool {
	found, err := c.client.InspectContainer(c.id)
	return err == nil && found.State.Running
}

func (c *container) logs() string {
	var lines bytes.Buffer
	err := c.client.Logs(docker.LogsOptions{
		Container: c.id, Stdout: true, Stderr: true, Tail: "40",
		OutputStream: &lines, ErrorStream: &lines,
	})
	if err != nil {
		return err.Error()
	}
	return lines.String()
}
