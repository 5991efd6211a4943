package files

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/runnelkv/runnel/api/internal/exchange"
	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/file"
)

// Service serves files.
type Service struct {
	*exchange.Shared
	store Store
	files *file.Service // nil: the server has none
}

// Store is the part of the store that the service uses beside the files.
type Store interface {
	Master(key store.Key) string
}

// New returns a Service; without files every request is refused.
func New(s *exchange.Shared, st Store, files *file.Service) *Service { return &Service{s, st, files} }

// nameOf returns the name in the path of a request.
func nameOf(r *exchange.Request) string { return strings.TrimPrefix(r.URL.Path, wire.FilesPath) }

// isDirectory reports whether a name is a directory.
func isDirectory(name string) bool { return name == "" || strings.HasSuffix(name, "/") }

// parseName checks the name of a file and sets the request's key.
func (s *Service) parseName(r *exchange.Request, name string) error {
	if err := s.Store.CheckName(name); err != nil {
		return err
	}
	if isDirectory(name) {
		return problem.New(problem.InvalidKey, "The name of a file does not end in a slash: that is a directory.")
	}
	r.Key = file.Key(name)
	if s.files == nil {
		return problem.New(problem.UnknownRoute, "This server has no files.")
	}
	return nil
}

// ReadNeed is the need of GET: to read the file, or every file below the directory.
func (s *Service) ReadNeed() exchange.Need {
	return exchange.NeedOf(exchange.ReadKey, func(r *exchange.Request) (bool, error) {
		name := nameOf(r)
		if isDirectory(name) {
			o, err := s.listOptions(r)
			return err == nil && r.Grants.CanReadAll(o.Prefix), err
		}
		if err := s.parseName(r, name); err != nil {
			return false, err
		}
		if err := s.checkRead(r); err != nil {
			return false, err
		}
		return r.Grants.CanRead(name), nil
	})
}

// WriteNeed is the need of PUT and DELETE: to write the file.
func (s *Service) WriteNeed() exchange.Need {
	return exchange.NeedOf(exchange.WriteKey, func(r *exchange.Request) (bool, error) {
		name := nameOf(r)
		if err := s.parseName(r, name); err != nil {
			return false, err
		}
		if _, err := copiesOf(r); err != nil {
			return false, err
		}
		return r.Grants.CanWrite(name), nil
	})
}

// PostNeed is the need of POST: to write every file below the directory; to verify a file, to write the file; to copy a
// file, to read the file and to write the copy.
func (s *Service) PostNeed() exchange.Need {
	return exchange.NeedOf(exchange.WriteKey, func(r *exchange.Request) (bool, error) {
		name := nameOf(r)
		if _, err := copiesOf(r); err != nil {
			return false, err
		}
		if isDirectory(name) {
			if s.files == nil {
				return false, s.parseName(r, "x")
			}
			r.Key = file.Key(name)
			return r.Grants.CanWriteAll(name), nil
		}
		source, act := cutAct(name)
		if act == "" {
			return false, problem.New(problem.UnknownRoute, "A POST is to a directory, or to a file with /copy or /verify behind its name.")
		}
		if err := s.parseName(r, source); err != nil {
			return false, err
		}
		if act == verify {
			return r.Grants.CanWrite(source), nil
		}
		to := r.Query.Get("to")
		if !r.Query.Has("to") {
			return false, problem.Parameter("to", "to is the name of the copy.")
		}
		allowed := r.Grants.CanRead(source) && r.Grants.CanWrite(to)
		return allowed, s.parseName(r, to)
	})
}

const (
	verify = "/verify"
	copyTo = "/copy"
)

// cutAct cuts /verify or /copy from a name.
func cutAct(name string) (source, act string) {
	for _, act := range []string{verify, copyTo} {
		if source, found := strings.CutSuffix(name, act); found {
			return source, act
		}
	}
	return name, ""
}

// copiesOf parses the parameter copies; 0 if absent.
func copiesOf(r *exchange.Request) (int, error) {
	if !r.Query.Has("copies") {
		return 0, nil
	}
	n, err := strconv.Atoi(r.Query.Get("copies"))
	if err != nil || n < 1 {
		return 0, problem.Parameter("copies", "copies is a number of partitions from 1, not %q.", r.Query.Get("copies"))
	}
	return n, nil
}

// explain turns the errors of package file into problems.
func explain(err error) error {
	if many, ok := errors.AsType[*file.CopiesError](err); ok {
		return problem.Parameter("copies", "copies is at most %d, the number of partitions, not %d.", many.Partitions, many.Asked)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, file.ErrNoCopy):
		return problem.New(problem.NoWholeCopy, "A part of the file has no undamaged copy on the partitions that answer.")
	case errors.Is(err, file.ErrTooFewPartitions):
		return problem.New(problem.TooFewCopies, "Too few partitions can store a part of the file.")
	case errors.Is(err, file.ErrTooSlow):
		return problem.New(problem.TimedOut, "The upload could not be published in time. Nothing was stored.")
	}
	return err
}
