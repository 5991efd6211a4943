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
	// label marks every container of this package; its value is shared or own.
	label = "runnel-test"
	// containerDirectory is a volume: a container's own file system may be slow
	// (fuse-overlayfs) and keeps no promise about fsync.
	containerDirectory = "/srv/runnel"
	containerPort      = docker.Port("3306/tcp")
	// ownLifetime and sharedLifetime are the ages after which a container was
	// surely left behind: by a crashed run, or by other settings.
	ownLifetime    = time.Hour
	sharedLifetime = 24 * time.Hour
)

var errNoEngine = errors.New("no Docker engine answers")

// dockerHost runs servers in containers of one image.
type dockerHost struct {
	pool  *dockertest.Pool
	image string
}

// newDocker returns errNoEngine if there is none, any other error if there is
// one but no image can be had.
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

// start tries again with another port if somebody took the one that was free.
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
		h.removeNamed(name)
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
		c.PublishAllPorts = false // would open the image's other ports to the world
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

// removeNamed removes what a start that failed half-way may have left.
func (h *dockerHost) removeNamed(name string) {
	if c, err := h.pool.Client.InspectContainer(name); err == nil {
		(&container{h.pool.Client, c.ID}).remove()
	}
}

// A container is the engine of a server on Docker.
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

// stop sends SIGTERM itself: dockertest gives its containers a stop signal that
// a server ignores, so that docker stop would end in SIGKILL.
func (c *container) stop(ctx context.Context) error {
	return c.signal(ctx, docker.SIGTERM)
}

func (c *container) kill() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return c.signal(ctx, docker.SIGKILL)
}

// signal returns when the signal has ended the server.
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
		return nil // another test binary clears up too
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
