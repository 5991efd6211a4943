package mysql

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Config is the address of a MySQL or MariaDB database and the account that opens it.
type Config struct {
	Addr     string // host:port, or the path of a Unix socket
	User     string
	Password string
	Database string
	// Params are those of go-sql-driver/mysql, for example tls. With tls=true also ca: a file with the authorities that
	// sign the server's certificate; cert and key: files of a certificate to show to the server. The files are PEM, and
	// are read for each connection; files that cannot be used leave the former certificates in use.
	Params map[string]string
	// NewPassword, if not nil, returns the password of each new connection. While NewPassword fails, or the server denies
	// its password, new connections use the last accepted password, at first Password.
	NewPassword func() (string, error)
}

// config returns the driver's configuration, with the settings on which this package relies.
func (c Config) config() (*mysql.Config, error) {
	params := url.Values{}
	for k, v := range c.Params {
		params.Set(k, v)
	}
	for _, file := range []string{caParam, certParam, keyParam} {
		params.Del(file)
	}
	config, err := mysql.ParseDSN("/?" + params.Encode())
	if err != nil {
		return nil, fmt.Errorf("parameters of %s: %w", c.Addr, err)
	}
	config.Net, config.Addr, config.User, config.Passwd = "tcp", c.Addr, c.User, c.Password
	if strings.HasPrefix(c.Addr, "/") {
		config.Net = "unix"
	}
	if config.TLS, err = c.tls(config.TLS); err != nil {
		return nil, err
	}
	config.MultiStatements = true   // commits take one round trip
	config.InterpolateParams = true // so do the others
	config.ClientFoundRows = false  // "affected" means changed
	config.ParseTime = false        // there are no times in the tables
	config.MaxAllowedPacket = 0     // ask the server
	config.CheckConnLiveness = true // an idle connection may have died
	config.AllowNativePasswords = true
	config.Logger = &mysql.NopLogger{}
	if config.Timeout == 0 {
		config.Timeout = 10 * time.Second
	}
	return config, nil
}

const (
	caParam   = "ca"
	certParam = "cert"
	keyParam  = "key"
)

// tls completes the driver's settings of TLS, if there are any: the driver knew no address.
func (c Config) tls(settings *tls.Config) (*tls.Config, error) {
	if settings == nil || settings.InsecureSkipVerify {
		return settings, nil
	}
	settings = settings.Clone()
	settings.ServerName = "localhost" // behind a socket
	if host, _, err := net.SplitHostPort(c.Addr); err == nil {
		settings.ServerName = host
	}
	if file := c.Params[caParam]; file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("authorities for %s: %w", c.Addr, err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("authorities for %s: %s holds no certificate in PEM", c.Addr, file)
		}
	}
	if file := c.Params[certParam]; file != "" {
		pair, err := tls.LoadX509KeyPair(file, c.Params[keyParam])
		if err != nil {
			return nil, fmt.Errorf("certificate for %s: %w", c.Addr, err)
		}
		settings.Certificates = []tls.Certificate{pair}
	}
	return settings, nil
}

// login opens connections with the password and the certificates that the files hold at the time.
//
// During a rotation, the files and the server differ for a while. So what worked last stays in use while a file cannot be
// read, or while the server denies the password of the file.
type login struct {
	config Config
	log    *slog.Logger

	mu       sync.Mutex // guards the fields below
	settings *tls.Config
	password string            // the last accepted one, at first that of the configuration
	denied   string            // the last denied one
	reported map[string]string // the last error of each fault
}

func newLogin(c Config, config *mysql.Config, log *slog.Logger) *login {
	return &login{config: c, log: log, settings: config.TLS, password: config.Passwd, reported: map[string]string{}}
}

// connect opens a connection. If the server denies every password, the error is its last answer.
func (l *login) connect(ctx context.Context, config *mysql.Config) (driver.Conn, error) {
	config.TLS = l.currentTLS()
	var denied error
	for _, config.Passwd = range l.passwords() {
		connector, err := mysql.NewConnector(config)
		if err != nil {
			return nil, err
		}
		conn, err := connector.Connect(ctx)
		if !hasNumber(err, errAccessDenied, errSocketDenied) {
			if err == nil {
				l.accept(config.Passwd)
			}
			return conn, err
		}
		l.deny(config.Passwd, err)
		denied = err
	}
	return nil, denied
}

// currentTLS reads the certificates.
func (l *login) currentTLS() *tls.Config {
	l.mu.Lock()
	defer l.mu.Unlock()
	settings, err := l.config.tls(l.settings)
	if err == nil {
		l.settings = settings
	}
	l.report(unusableCertificates, err)
	return l.settings
}

// passwords returns the passwords to try, in this order. The password of the file goes first until the server denies it,
// so that the server sees few failed logins. It also goes last, because the account may change between two attempts.
func (l *login) passwords() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.config.NewPassword == nil {
		return []string{l.password}
	}
	current, err := l.config.NewPassword()
	l.report(unusablePasswordFile, err)
	switch {
	case err != nil:
		return []string{l.password}
	case current == l.password:
		l.denied = ""
		l.report(newPasswordDenied, nil)
		return []string{current}
	case l.password == "":
		return []string{current}
	case current == l.denied:
		return []string{l.password, current}
	}
	return []string{current, l.password, current}
}

func (l *login) accept(password string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if password != l.password {
		l.log.Info("the new password of a database is in use", "database", l.config.Addr)
		l.password, l.denied = password, ""
		l.report(newPasswordDenied, nil)
	}
}

func (l *login) deny(password string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.denied = password; password != l.password {
		l.report(newPasswordDenied, err)
	}
}

// What report logs.
const (
	unusableCertificates = "the certificates for a database cannot be used: the former stay in use"
	unusablePasswordFile = "the password file of a database cannot be used: the former password stays in use"
	newPasswordDenied    = "a database denies the new password: the former stays in use"
)

// report logs a fault once, until the error changes; nil ends the fault. The caller holds l.mu.
func (l *login) report(fault string, err error) {
	text := fmt.Sprint(err)
	if err != nil && l.reported[fault] != text {
		l.log.Warn(fault, "database", l.config.Addr, "error", err)
	}
	l.reported[fault] = text
}

// grants returns a GRANT statement with all privileges that the user needs.
func (c Config) grants() string {
	quote := strings.NewReplacer(`\`, `\\`, `'`, `''`)
	pattern := strings.NewReplacer(`_`, `\_`, `%`, `\%`).Replace(c.Database)
	return fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP ON `%s`.* TO '%s'@'%%'",
		pattern, quote.Replace(c.User))
}
