package config

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxLinks bounds the symbolic links followed for one path, as Linux does (path_resolution(7)).
const maxLinks = 40

// Identity returns a text that is equal for urls that lead to the same database, as far as that can be told without
// asking it: host names in lower case, addresses in one form, file paths absolute, cleaned and with symbolic links
// resolved. Two names of one host differ here; the cluster row in the database finds those.
func (u URL) Identity() string {
	if u.Scheme == SQLite {
		return sqlitePrefix + realPath(u.Path, maxLinks)
	}
	if u.isSocket() {
		return mysqlPrefix + realPath(u.Host, maxLinks) + "/" + u.Database
	}
	host := strings.ToLower(strings.TrimSuffix(u.Host, "."))
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.Unmap().String()
	}
	return mysqlPrefix + net.JoinHostPort(host, strconv.Itoa(u.Port)) + "/" + u.Database
}

// realPath is filepath.EvalSymlinks for a path whose end may not exist yet. Where the file system gives no answer,
// the path stays as it is.
func realPath(path string, links int) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real
	}
	dir, base := filepath.Split(abs)
	if base == "" || links == 0 {
		return abs
	}
	dir = realPath(dir, links-1)
	target, err := os.Readlink(filepath.Join(dir, base))
	if err != nil {
		return filepath.Join(dir, base)
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(dir, target)
	}
	return realPath(target, links-1)
}

// sameFile reports whether two existing SQLite files are one by another way, such as a hard link.
func sameFile(a, b URL) bool {
	if a.Scheme != SQLite || b.Scheme != SQLite {
		return false
	}
	first, err := os.Stat(a.Path)
	if err != nil {
		return false
	}
	second, err := os.Stat(b.Path)
	return err == nil && os.SameFile(first, second)
}
