package doctor

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/runnelkv/runnel/config"
)

// Permissions of users other than the owner.
const (
	groupReads   fs.FileMode = 0o040
	othersRead   fs.FileMode = 0o004
	othersChange fs.FileMode = 0o022 // the group counts, too: a change is worse than a look
)

func (e *examination) configFile() {
	if e.File == "" {
		return
	}
	text, err := os.ReadFile(e.File)
	if err != nil {
		e.add(Fail, e.File, "%v", err)
		return
	}
	mode, fine := e.changedByOwnerOnly(e.File)
	if mode&(groupReads|othersRead) != 0 && holdsSecret(string(text), e.Config) {
		e.add(Fail, e.File, "holds a password or a secret, and users other than the owner can read the file: chmod 600, or use ${NAME}, password_file or secret_file")
	} else if fine {
		e.add(OK, e.File, "only the owner can change the file")
	}
}

// changedByOwnerOnly adds a finding if users other than the owner can change or replace the file.
func (e *examination) changedByOwnerOnly(file string) (mode fs.FileMode, fine bool) {
	info, err := os.Stat(file)
	if err != nil {
		e.add(Fail, file, "%v", err)
		return 0, false
	}
	folder := filepath.Dir(file)
	if info.Mode()&othersChange != 0 {
		e.add(Fail, file, "users other than the owner can change the file: chmod go-w")
		return info.Mode(), false
	}
	if parent, err := os.Stat(folder); err == nil && parent.Mode()&othersChange != 0 && parent.Mode()&fs.ModeSticky == 0 {
		e.add(Fail, file, "users other than the owner can replace the file, because they can write to the folder: chmod go-w %s", folder)
		return info.Mode(), false
	}
	return info.Mode(), true
}

// holdsSecret reports whether the text of a configuration file holds one of the configuration's secrets.
func holdsSecret(text string, c *config.Config) bool {
	var secrets []config.Secret
	for _, p := range c.Partitions {
		secrets = append(secrets, p.URL.Password)
	}
	for _, h := range c.Webhooks {
		secrets = append(secrets, h.Secret)
	}
	for _, s := range secrets {
		if s.IsSet() && (strings.Contains(text, s.Reveal()) || strings.Contains(text, url.QueryEscape(s.Reveal())) || strings.Contains(text, url.PathEscape(s.Reveal()))) {
			return true
		}
	}
	return false
}

func (e *examination) secretFiles() {
	if e.Config.HTTP.TLS.IsSet() {
		e.secretFile(e.Config.HTTP.TLS.Key)
	}
	if file := e.Config.Auth.SecretFile; file != "" {
		e.secretFile(file)
	}
	for _, h := range e.Config.Webhooks {
		if h.SecretFile != "" {
			e.secretFile(h.SecretFile)
		}
	}
	for _, p := range e.Config.Partitions {
		for _, file := range []string{p.PasswordFile, p.URL.Params["key"]} {
			if file != "" {
				e.secretFile(file)
			}
		}
	}
}

// secretFile adds the finding for a file that only its owner should read.
func (e *examination) secretFile(file string) {
	mode, fine := e.changedByOwnerOnly(file)
	switch {
	case !fine:
	case mode&othersRead != 0:
		e.add(Fail, file, "every user can read the secret: chmod 600")
	case mode&groupReads != 0:
		e.add(Warn, file, "the group of the file can read the secret: chmod 600, unless the group has no further member")
	default:
		e.add(OK, file, "only the owner can read the file")
	}
}

func (e *examination) certificateFiles() {
	for _, file := range []string{e.Config.HTTP.TLS.Cert, e.Config.HTTP.TLS.ClientCA} {
		if file != "" {
			e.certificateFile(file)
		}
	}
	for _, h := range e.Config.Webhooks {
		if h.CA != "" {
			e.certificateFile(h.CA)
		}
	}
	for _, p := range e.Config.Partitions {
		for _, name := range []string{"ca", "cert"} {
			if file := p.URL.Params[name]; file != "" {
				e.certificateFile(file)
			}
		}
	}
}

// certificateFile adds the finding for a file that decides which servers or clients are trusted.
func (e *examination) certificateFile(file string) {
	if _, fine := e.changedByOwnerOnly(file); fine {
		e.add(OK, file, "only the owner can change the file")
	}
}

func (e *examination) dataFiles() {
	for _, p := range e.Config.Partitions {
		if p.URL.Scheme != config.SQLite {
			continue
		}
		for _, suffix := range []string{"", "-wal", "-shm"} {
			e.dataFile(p.URL.Path+suffix, suffix == "")
		}
	}
}

// dataFile adds the finding for a file with the values of all keys.
func (e *examination) dataFile(file string, required bool) {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && required:
		e.add(Skip, file, "does not exist yet; the server makes the file readable by the owner only")
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		e.add(Fail, file, "%v", err)
	case info.Mode()&(othersRead|othersChange) != 0:
		e.add(Fail, file, "users other than the owner can read or change all values: stop the server and chmod 600")
	case info.Mode()&groupReads != 0:
		e.add(Warn, file, "the group of the file can read all values: stop the server and chmod 600")
	default:
		if _, fine := e.changedByOwnerOnly(file); fine {
			e.add(OK, file, "only the owner can read the file")
		}
	}
}

func (e *examination) logFiles() {
	for _, file := range []string{e.Config.Log.Access, e.Config.Audit.File} {
		if file != "" {
			e.logFile(file)
		}
	}
}

// logFile adds the finding for a file with the keys of requests, the addresses of clients and the names of API keys.
func (e *examination) logFile(file string) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		e.add(Skip, file, "does not exist yet; the server makes the file readable by its owner and group")
		return
	}
	switch mode, fine := e.changedByOwnerOnly(file); {
	case !fine:
	case mode&othersRead != 0:
		e.add(Warn, file, "every user can read the keys of requests, the addresses of clients and the names of API keys: chmod o-r")
	default:
		e.add(OK, file, "only the owner can change the file, and not every user can read it")
	}
}
