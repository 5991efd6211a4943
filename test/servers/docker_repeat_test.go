package servers

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/ory/dockertest/v3/docker"
)

var (
	cannotFreeze  = &docker.Error{Status: 500, Message: "Cannot pause container c: OCI runtime pause failed: unable to freeze: unknown"}
	alreadyPaused = &docker.Error{Status: 409, Message: "Container c is already paused"}
)

func TestRefusedOperationIsRepeated(t *testing.T) {
	for name, c := range map[string]struct {
		answers []error
		want    error
	}{
		"done at once":                {[]error{nil}, nil},
		"refused twice":               {[]error{cannotFreeze, cannotFreeze, nil}, nil},
		"done although refused":       {[]error{cannotFreeze, alreadyPaused}, nil},
		"stopped although refused":    {[]error{cannotFreeze, &docker.ContainerNotRunning{}}, nil},
		"started although refused":    {[]error{cannotFreeze, &docker.ContainerAlreadyRunning{}}, nil},
		"in that state before":        {[]error{alreadyPaused}, alreadyPaused},
		"another error":               {[]error{errNoEngine}, errNoEngine},
		"another error after refusal": {[]error{cannotFreeze, errNoEngine}, errNoEngine},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				left := c.answers
				err := repeatRefused(refusalTimeout, func() error {
					answer := left[0]
					left = left[1:]
					return answer
				})
				if err != c.want || len(left) > 0 {
					t.Errorf("ended with %v, %d answers left, want %v", err, len(left), c.want)
				}
			})
		})
	}
}

func TestRefusedOperationFailsInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		err := repeatRefused(refusalTimeout, func() error { attempts++; return cannotFreeze })
		if !errors.Is(err, cannotFreeze) {
			t.Errorf("ended with %v", err)
		}
		if want := int(refusalTimeout / refusalInterval); attempts < want/2 || attempts > want+1 {
			t.Errorf("%d attempts in %v", attempts, refusalTimeout)
		}
	})
}
