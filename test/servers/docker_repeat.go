package servers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/ory/dockertest/v3/docker"
)

const (
	// refusalTimeout bounds the repetition of an operation that the Docker engine fails to perform.
	refusalTimeout  = 10 * time.Second
	refusalInterval = 100 * time.Millisecond
)

// repeatRefused repeats an operation on a container for as long as the Docker engine answers with an internal error, for
// limit at most. On a busy machine the kernel at times refuses to freeze, thaw or start a container for a moment.
//
// An internal error does not say whether the operation took effect. A conflict after such an error (the container is
// paused or running already) therefore counts as success.
func repeatRefused(limit time.Duration, operation func() error) error {
	refusals := 0
	_, err := backoff.Retry(context.Background(), func() (struct{}, error) {
		err := operation()
		switch {
		case isRefusal(err):
			refusals++
			return struct{}{}, err
		case refusals > 0 && isConflict(err):
			return struct{}{}, nil
		case err != nil:
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, nil
	}, backoff.WithBackOff(backoff.NewConstantBackOff(refusalInterval)), backoff.WithMaxElapsedTime(limit))
	if isRefusal(err) {
		return fmt.Errorf("the Docker engine failed %d times within %v: %w", refusals, limit, err)
	}
	return err
}

// isRefusal reports whether the engine failed by itself: it knows the container, and the request is valid.
func isRefusal(err error) bool {
	var answer *docker.Error
	return errors.As(err, &answer) && answer.Status == http.StatusInternalServerError
}

// isConflict reports whether the container is in the state already that the operation leads to.
func isConflict(err error) bool {
	var answer *docker.Error
	var running *docker.ContainerAlreadyRunning
	var stopped *docker.ContainerNotRunning
	return errors.As(err, &answer) && answer.Status == http.StatusConflict || errors.As(err, &running) || errors.As(err, &stopped)
}
