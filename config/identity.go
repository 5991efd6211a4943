package config

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxLinks bounds the symbolic links that are followed in a path, as Linux does (path_resolution(7)).
const maxLinks = 40

// Identity returns a text that is equal for urls of the same database, as far as this shows without a connection: host
// names in lower case, addresses in canonical form, file paths absolute, cleaned and with symbolic links resolved. Two
// names of the same host differ here; the cluster row in the database reveals them.
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

// realPath is filepath.EvalSymlinks for a path that may not exist yet. Where the file system gives no answer, the path
// is unchanged.
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

// sameFile reports whether two existing SQLite files are the same in spite of different paths, as with a hard link.
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
