package config

import (
	"errors"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Scheme is the kind of database of a URL.
type Scheme string

// The values of Scheme.
const (
	MySQL  Scheme = "mysql"  // MySQL, MariaDB, or a server with their protocol
	SQLite Scheme = "sqlite" // a file
)

// URL is the address of a partition's database. The printed forms hide the password.
type URL struct {
	Scheme   Scheme
	User     string            // MySQL only, as all fields but Path
	Password Secret            // from the url or from the partition's password_file
	Host     string            // a name or an address, without brackets; or the path of a socket
	Port     int               // 3306 when the url names none, 0 for a socket
	Database string            // with the prefix "test_" when RUNNEL_ENV=test
	Params   map[string]string // nil when there are none; "tls": true, false, skip-verify or preferred; with tls=true the files "ca", "cert" and "key"
	Path     string            // SQLite only: the file, as written; relative to the working directory
}

const (
	mysqlPrefix  = "mysql://"
	sqlitePrefix = "sqlite:"
	mysqlPort    = 3306
)

// No message about a url repeats a part of the url: if mistyped, any part may be the password.
var (
	errScheme    = errors.New(`must be "mysql://user:password@host:port/database" or "sqlite:path"`)
	errMySQLForm = errors.New(`is not of the form "mysql://user:password@host:port/database" or "mysql://user:password@unix(/socket)/database"; ` +
		`a password with special characters is percent-encoded, or comes from ${ENV} or password_file`)
	errSQLiteHost   = errors.New(`names a host; write "sqlite:relative/path" or "sqlite:/absolute/path"`)
	errSQLiteParams = errors.New("takes no parameters for SQLite")
)

// ParseURL parses "mysql://user:password@host:port/database?tls=true" or "sqlite:path". Errors never repeat the text.
// ParseURL checks only the form; [Config.Validate] checks the parts.
func ParseURL(text string) (URL, error) {
	switch {
	case strings.HasPrefix(text, mysqlPrefix):
		return parseMySQL(text)
	case strings.HasPrefix(text, sqlitePrefix):
		return parseSQLite(strings.TrimPrefix(text, sqlitePrefix))
	}
	return URL{}, errScheme
}

// socketURL matches a url with the host "unix(/path)". The groups are the part before, the path, and the part after.
var socketURL = regexp.MustCompile(`^(mysql://[^/]*@)unix\((/[^()?#]*)\)(/.*)$`)

func parseMySQL(text string) (URL, error) {
	if part := socketURL.FindStringSubmatch(text); part != nil {
		u, err := parseMySQL(part[1] + "socket" + part[3])
		u.Host, u.Port = part[2], 0
		return u, err
	}
	u, err := url.Parse(text)
	if err != nil || u.Fragment != "" {
		return URL{}, errMySQLForm
	}
	params, err := parseParams(u.RawQuery)
	if err != nil {
		return URL{}, err
	}
	port := mysqlPort
	if u.Port() != "" {
		if port, err = strconv.Atoi(u.Port()); err != nil {
			return URL{}, errMySQLForm
		}
	}
	password, _ := u.User.Password()
	return URL{
		Scheme: MySQL, User: u.User.Username(), Password: NewSecret(password),
		Host: u.Hostname(), Port: port, Database: strings.TrimPrefix(u.Path, "/"), Params: params,
	}, nil
}

func parseParams(query string) (map[string]string, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, errMySQLForm
	}
	if len(values) == 0 {
		return nil, nil
	}
	params := make(map[string]string, len(values))
	for name, all := range values {
		if len(all) > 1 {
			return nil, errors.New("gives one parameter twice")
		}
		params[name] = all[0]
	}
	return params, nil
}

func parseSQLite(path string) (URL, error) {
	if rest, found := strings.CutPrefix(path, "//"); found {
		if !strings.HasPrefix(rest, "/") {
			return URL{}, errSQLiteHost
		}
		path = rest
	}
	if strings.Contains(path, "?") {
		return URL{}, errSQLiteParams
	}
	return URL{Scheme: SQLite, Path: path}, nil
}

var (
	databaseName = regexp.MustCompile(`^[A-Za-z0-9_$-]{1,64}$`)
	hostName     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,252})$`)
)

// faults returns the faults of the url's parts, without repeating a part.
func (u URL) faults() []string {
	switch u.Scheme {
	case MySQL:
		return u.mysqlFaults()
	case SQLite:
		return u.sqliteFaults()
	}
	return []string{errScheme.Error()}
}

func (u URL) mysqlFaults() (faults []string) {
	if u.User == "" {
		faults = append(faults, "names no user")
	}
	if !u.isSocket() && !isHost(u.Host) {
		faults = append(faults, "names no host, or one that is neither a host name nor an address")
	}
	if !u.isSocket() && (u.Port < 1 || u.Port > 65535) {
		faults = append(faults, "names a port outside 1..65535")
	}
	if !databaseName.MatchString(u.Database) {
		faults = append(faults, "must name a database of 1..64 letters, digits, '_', '-' or '$'")
	}
	if !u.hasFineParams() {
		faults = append(faults, "takes no parameter but tls=true, false, skip-verify or preferred, and with tls=true ca=FILE, cert=FILE and key=FILE")
	}
	return faults
}

// hasFineParams reports whether all parameters are known, and files are named with tls=true only; a certificate needs its
// key.
func (u URL) hasFineParams() bool {
	for name, value := range u.Params {
		switch name {
		case "tls":
			if !slices.Contains([]string{"true", "false", "skip-verify", "preferred"}, value) {
				return false
			}
		case "ca", "cert", "key":
			if value == "" || u.Params["tls"] != "true" {
				return false
			}
		default:
			return false
		}
	}
	return (u.Params["cert"] == "") == (u.Params["key"] == "")
}

func (u URL) sqliteFaults() []string {
	switch {
	case u.Path == "":
		return []string{"names no file"}
	case strings.HasPrefix(u.Path, ":memory:"):
		return []string{"must name a file: a partition in memory would lose its data"}
	case strings.HasSuffix(u.Path, "/"):
		return []string{"names a directory, not a file"}
	case strings.ContainsRune(u.Path, 0):
		return []string{"holds a NUL character"}
	}
	return nil
}

func (u URL) isSocket() bool { return strings.HasPrefix(u.Host, "/") }

// Addr returns host:port, or the path of a socket.
func (u URL) Addr() string {
	if u.isSocket() {
		return u.Host
	}
	return net.JoinHostPort(u.Host, strconv.Itoa(u.Port))
}

func isHost(host string) bool { return net.ParseIP(host) != nil || hostName.MatchString(host) }

// String returns the url, with a password as "REDACTED".
func (u URL) String() string {
	if u.Scheme != MySQL {
		return string(u.Scheme) + ":" + u.Path
	}
	out := url.URL{Scheme: string(u.Scheme), User: url.User(u.User), Path: "/" + u.Database}
	if u.Password.IsSet() {
		out.User = url.UserPassword(u.User, u.Password.String())
	}
	if out.Host = u.Addr(); u.isSocket() {
		out.Host = "socket"
	}
	query := url.Values{}
	for name, value := range u.Params {
		query.Set(name, value)
	}
	out.RawQuery = query.Encode()
	if u.isSocket() {
		return strings.Replace(out.String(), "@socket/", "@unix("+u.Host+")/", 1)
	}
	return out.String()
}

// GoString is String, so that %#v shows no more than %v.
func (u URL) GoString() string { return u.String() }

// MarshalText is String, for JSON and TOML.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// LogValue is String, for slog.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }
