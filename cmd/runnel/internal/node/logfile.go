package node

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/audit"
	"github.com/runnelkv/runnel/config"
)

// logFile is a file to which lines are appended. Reopen lets other programs rotate the file.
type logFile struct {
	path string

	mu sync.Mutex
	f  *os.File // guarded by mu
}

// openLogFile opens or creates the file, readable by its owner and group.
func openLogFile(path string) (*logFile, error) {
	l := &logFile{path: path}
	if err := l.reopen(); err != nil {
		return nil, err
	}
	return l, nil
}

// reopen opens the path again. After an error the open file stays in use.
func (l *logFile) reopen() error {
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	l.mu.Lock()
	before := l.f
	l.f = f
	l.mu.Unlock()
	if before != nil {
		return before.Close()
	}
	return nil
}

// Write implements io.Writer with a single system call for each call.
func (l *logFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Write(line)
}

func (l *logFile) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Close()
}

// logFiles are the log files of a node; nil fields are not configured.
type logFiles struct{ access, audit *logFile }

// openLogFiles opens the configured files; "" is none.
func openLogFiles(access, audit string) (files logFiles, err error) {
	for _, file := range []struct {
		path string
		to   **logFile
	}{{access, &files.access}, {audit, &files.audit}} {
		if file.path == "" || err != nil {
			continue
		}
		*file.to, err = openLogFile(file.path)
	}
	if err != nil {
		return logFiles{}, errors.Join(err, files.close())
	}
	return files, nil
}

// each calls f with each open file.
func (l logFiles) each(f func(*logFile) error) (err error) {
	for _, file := range []*logFile{l.access, l.audit} {
		if file != nil {
			err = errors.Join(err, f(file))
		}
	}
	return err
}

func (l logFiles) reopen() error { return l.each((*logFile).reopen) }
func (l logFiles) close() error  { return l.each((*logFile).close) }

// logRequests sets the logs of requests. Without a file, requests are logged for debugging only.
func (n *node) logRequests(o *api.Options) {
	switch {
	case n.logs.access == nil:
		if n.log.Enabled(context.Background(), slog.LevelDebug) {
			o.Access = n.log
		}
	case n.config.Log.AccessFormat == config.AccessJSON:
		o.Access = NewLogger(n.logs.access, config.Log{Format: config.FormatJSON})
	default:
		o.CombinedLog = n.logs.access
	}
	if n.logs.audit != nil {
		n.audit = audit.New(n.logs.audit, audit.Options{Reads: n.config.Audit.Reads})
		o.Audit, o.AuditRequired = n.audit, n.config.Audit.Required
	}
}
