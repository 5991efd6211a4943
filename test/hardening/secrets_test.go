package hardening

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/certs"
	"github.com/runnelkv/runnel/test/runnel"
	"github.com/runnelkv/runnel/test/servers"
)

// hostile controls a terminal and forges a line, wherever text is written raw.
const hostile = "h\x1b]0;owned\x07\u009b31m\u202e\u2028\r\ntime=FORGED level=ERROR"

// secretsRun is a run of the binary with every kind of secret.
type secretsRun struct {
	node    *runnel.Process
	config  string // the configuration file
	dir     string // of the log files and of the file with the secret of the sign-ins
	admin   string // the address for operators
	client  *http.Client
	atNode  []string          // flags of commands for the server
	token   string            // an admin's API key
	secrets map[string]string // by their kinds
	outputs map[string]string // everything that the binary wrote, by the places
}

// TestSecretsAreInNoOutput runs the server with debug logs over MariaDB with secrets of every kind, provokes errors in
// every part and a dump of all goroutines, and searches the log, the access log and the audit log, answers, metrics,
// profiles, the command line, the environment and the dump for the secrets.
func TestSecretsAreInNoOutput(t *testing.T) {
	for _, c := range []struct {
		name, format, access string
		secure               bool
	}{{"text", "text", "combined", true}, {"json", "json", "json", true}, {"plain", "text", "json", false}} {
		t.Run(c.name, func(t *testing.T) {
			format := c.format
			r := startWithSecrets(t, fmt.Sprintf("[log]\nlevel = \"debug\"\nformat = %q\naccess_format = %q\n", c.format, c.access), c.secure)
			if c.secure {
				r.signIn(t)
			}
			r.sendRequests(t)
			r.runCommands(t)
			r.reloadFaulty(t)
			r.readProcess(t)
			checkLog(t, r.node.Log.String(), format)
			r.dumpGoroutines(t)
			r.outputs["log"] = r.node.Log.String()
			r.readLogFiles(t)
			for kind, secret := range r.secrets {
				for place, text := range r.outputs {
					if form := formIn(text, secret); form != "" {
						t.Errorf("the %s is in the %s, as %s", kind, place, form)
					}
				}
			}
		})
	}
}

// TestSecretsAreFoundInEveryForm shows that the search can fail.
func TestSecretsAreFoundInEveryForm(t *testing.T) {
	const secret = "pa/ss word+0123456789"
	for _, text := range []string{
		"x" + secret + "y", url.QueryEscape(secret), url.PathEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)),
		hex.EncodeToString([]byte(secret)), new(big.Int).SetBytes([]byte(secret)).String(), fmt.Sprintf("main.f({0x%x})", binary.BigEndian.Uint64([]byte(secret)[2:])), fmt.Sprintf("main.f(0x%x, 0x1)", binary.LittleEndian.Uint64([]byte(secret)[3:])), fmt.Sprint([]byte(secret)),
	} {
		if formIn(text, secret) == "" {
			t.Errorf("nothing is found in %q", text)
		}
	}
	if form := formIn("0x1234 "+secret[1:], secret); form != "" {
		t.Errorf("%s is found in a text without the secret", form)
	}
}

// formIn returns the form in which a text holds a secret; "" if the text holds none.
func formIn(text, secret string) string {
	for form, wanted := range map[string]string{
		"plain text": secret, "percent encoding of a query": url.QueryEscape(secret), "percent encoding of a path": url.PathEscape(secret),
		"base64": base64.RawStdEncoding.EncodeToString([]byte(secret)), "base64 for URLs": base64.RawURLEncoding.EncodeToString([]byte(secret)),
		"hexadecimal": hex.EncodeToString([]byte(secret)), "numbers": strings.Trim(fmt.Sprint([]byte(secret)), "[]"),
		"a decimal number": new(big.Int).SetBytes([]byte(secret)).String(),
	} {
		if strings.Contains(text, wanted) {
			return form
		}
	}
	for i := 0; i+8 <= len(secret); i++ { // a dump shows arguments as words
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			if strings.Contains(text, fmt.Sprintf("0x%x", order.Uint64([]byte(secret)[i:]))) {
				return "a word of a dump"
			}
		}
	}
	return ""
}

// startWithSecrets starts a server over a MariaDB partition for each way to give a password, one of them wrong, and with
// a webhook that refuses with hostile text. log is the section [log] without the access log.
func startWithSecrets(t *testing.T, log string, secure bool) *secretsRun {
	t.Helper()
	database := servers.MariaDB(t)
	rights := []string{"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "INDEX", "DROP"}
	literal, fromEnv, fromFile := database.Database(t), database.Database(t), database.Database(t)
	literal, fromEnv, fromFile = database.User(t, literal, rights...), database.User(t, fromEnv, rights...), database.User(t, fromFile, rights...)
	r := &secretsRun{outputs: map[string]string{}, dir: t.TempDir(), admin: runnel.FreeAddress(t), client: &http.Client{}, secrets: map[string]string{
		"password in the url": passwordOf(t, literal), "password in the environment": passwordOf(t, fromEnv), "password in a file": passwordOf(t, fromFile),
		"wrong password": "wrong-password-81744fab", "secret of the webhook": "webhook-secret-5b1c99d0", "secret of a webhook in a file": "hook-file-secret-c40e7b19", "path of the webhook": "hook-path-77d00c1e",
		"unknown key": "rnl_unknownkey_client-key-3341ba77", "value": "the-value-90ffab12", "cookie": "the-cookie-66f1ab90",
		"secret of the sign-ins": "sign-in-secret-0d1e44a2-of-32-bytes-or-more",
	}}
	t.Setenv("TEST_DB_PASSWORD", r.secrets["password in the environment"])
	password := r.write(t, "password", "password in a file")
	without := func(address, replacement string) string {
		return strings.Replace(address, ":"+passwordOf(t, address)+"@", replacement+"@", 1)
	}
	preamble := log + fmt.Sprintf("access = '%[1]s/access'\n[audit]\nfile = '%[1]s/audit'\nreads = true\n[admin]\nlisten = %[2]q\n[auth]\nsecret_file = %[3]q\n"+
		"[[webhook]]\nurl = \"%[4]s/%[5]s\"\nsecret = %[6]q\n[[webhook]]\nurl = \"%[4]s/%[5]s/2\"\nsecret_file = %[9]q\n[[partition]]\nname = \"file\"\nurl = %[7]q\npassword_file = %[8]q\n[store]\nmasters = [\"partition-0\"]\n",
		r.dir, r.admin, r.write(t, "sign-in", "secret of the sign-ins"), hostileHook(t), r.secrets["path of the webhook"], r.secrets["secret of the webhook"], without(fromFile, ""), password,
		r.write(t, "hook", "secret of a webhook in a file"))
	if secure {
		preamble += r.useTLS(t)
	}
	r.config = runnel.WriteConfig(t, preamble, literal, without(fromEnv, ":${TEST_DB_PASSWORD}"))
	token, err := runnel.Run(t, "key", "create", "ops", "--role", "admin", "--config", r.config)
	if err != nil {
		t.Fatal(err)
	}
	r.token = strings.TrimSpace(token)
	r.secrets["secret of an API key"] = r.token[strings.LastIndexByte(r.token[:15], '_')+1:]
	r.serve(t, secure)

	// A partition that refuses the password joins later: a new cluster needs every partition.
	wrong := without(literal, ":"+r.secrets["wrong password"])
	r.appendConfig(t, fmt.Sprintf("[[partition]]\nname = \"wrong\"\nurl = %q\n", strings.Replace(wrong, "/runnel_", "/runnel_x", 1)))
	r.node.Signal(syscall.SIGHUP)
	r.awaitText(t, "/v1/status", `"refused"`)
	return r
}

func passwordOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	return password
}

// hostileHook returns the URL of an endpoint that refuses with hostile text.
func hostileHook(t *testing.T) string {
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			io.WriteString(c, "HTTP/1.1 500 \x1b]0;owned\x07\u202e\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"+hostile)
			c.Close()
		}
	}))
	t.Cleanup(hook.Close)
	return hook.URL
}

// write writes a secret to a file and returns the path.
func (r *secretsRun) write(t *testing.T, name, secret string) string {
	t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, []byte(r.secrets[secret]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// useTLS returns the section of a server with a certificate that asks for those of clients. The private keys are secrets.
func (r *secretsRun) useTLS(t *testing.T) (section string) {
	t.Helper()
	authority := certs.NewAuthority(t)
	server, client := authority.Issue(t, certs.Names{}), authority.Issue(t, certs.Names{})
	r.addPrivateKey(t, "private key of the server", server.Load(t))
	r.addPrivateKey(t, "private key of a client", client.Load(t))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.Pool, Certificates: []tls.Certificate{client.Load(t)}}}
	t.Cleanup(transport.CloseIdleConnections)
	r.client.Transport = transport
	r.atNode = []string{"--cacert", authority.File, "--cert", client.Cert, "--cert-key", client.Key}
	return fmt.Sprintf("[http.tls]\ncert = %q\nkey = %q\nclient_ca = %q\nclient_auth = \"request\"\n", server.Cert, server.Key, authority.File)
}

// addPrivateKey adds the number that a private key is, and a line of its file.
func (r *secretsRun) addPrivateKey(t *testing.T, kind string, pair tls.Certificate) {
	t.Helper()
	key := pair.PrivateKey.(*ecdsa.PrivateKey)
	number, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	r.secrets[kind] = string(number)
	r.secrets["PEM form of the "+kind] = base64.StdEncoding.EncodeToString(der)[64:128] // the second line
}

func (r *secretsRun) serve(t *testing.T, secure bool) {
	t.Helper()
	r.node = runnel.ServeUnready(t, "--config", r.config)
	if secure {
		r.node.URL = strings.Replace(r.node.URL, "http:", "https:", 1)
	}
	r.atNode = append(r.atNode, "--server", r.node.URL)
	runnel.Eventually(t, time.Minute, "readiness", func() error { return get(r.client, r.node.URL+"/readyz?write") })
}

// awaitText waits until the answer to a GET request contains a text.
func (r *secretsRun) awaitText(t *testing.T, path, text string) {
	t.Helper()
	runnel.Eventually(t, 30*time.Second, text+" in "+path, func() error {
		if answer := r.get(t, path, nil); !strings.Contains(answer, text) {
			return fmt.Errorf("%s", answer)
		}
		return nil
	})
}

// signIn signs a browser in. The cookie in the answer is a secret, which a later request presents whole and damaged.
func (r *secretsRun) signIn(t *testing.T) {
	t.Helper()
	request := func(method, path, name, value string) *http.Response {
		q, err := http.NewRequestWithContext(t.Context(), method, r.node.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set(name, value)
		q.Header.Set("Sec-Fetch-Site", "same-origin")
		answer, err := r.client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer
	}
	answer := request(http.MethodPost, "/v1/session", "Authorization", "Bearer "+r.token)
	cookies := answer.Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%s: %v", answer.Status, answer.Header)
	}
	r.secrets["sign-in cookie"] = cookies[0].Value
	for cookie, want := range map[string]int{cookies[0].Value: http.StatusOK, cookies[0].Value[:50]: http.StatusUnauthorized} {
		if answer := request(http.MethodGet, "/v1/status", "Cookie", cookies[0].Name+"="+cookie); answer.StatusCode != want {
			t.Errorf("status %d with a cookie of %d characters, want %d", answer.StatusCode, len(cookie), want)
		}
	}
}

func (r *secretsRun) appendConfig(t *testing.T, text string) {
	t.Helper()
	f, err := os.OpenFile(r.config, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// get sends a GET request and returns status, header and body.
func (r *secretsRun) get(t *testing.T, path string, header http.Header) string {
	t.Helper()
	return r.send(t, http.MethodGet, path, "", header)
}

func (r *secretsRun) send(t *testing.T, method, path, body string, header http.Header) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, r.node.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if request.Header = header.Clone(); header == nil {
		request.Header = http.Header{}
	}
	if request.Header.Get("Authorization") == "" {
		request.Header.Set("Authorization", "Bearer "+r.token)
	}
	answer, err := r.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var b bytes.Buffer
	if err := answer.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// sendRequests makes requests with secrets and hostile text, and keeps the answers that should hold neither.
func (r *secretsRun) sendRequests(t *testing.T) {
	t.Helper()
	header := http.Header{"Cookie": {"runnel-session=" + r.secrets["cookie"]}, "User-Agent": {"h\u009b31m\u202e"}}
	key := "/v1/keys/" + url.PathEscape("h\u202e\u2028k")
	r.outputs["answer to a write"] = r.send(t, http.MethodPut, key, r.secrets["value"], header)
	for _, path := range []string{
		"/v1/status", "/metrics", "/v1/keys?limit=bad", "/v1/keys/" + url.PathEscape(hostile), "/v1/keys/a?r=9&" + url.QueryEscape(hostile), "/healthz", "/readyz", "/nothing", "/problems", "/",
		"/v1/changes?since=" + url.QueryEscape(hostile),
	} {
		for _, accept := range []string{"application/json", "text/html", "application/xml", "text/plain"} {
			header.Set("Accept", accept)
			r.outputs[accept+" of "+path] = r.get(t, path, header)
		}
	}
	header.Del("Accept")
	header.Set("Host", "other.example")
	r.outputs["answer to a conflict"] = r.send(t, http.MethodPut, key, r.secrets["value"], http.Header{"If-Match": {`"0"`}})
	r.outputs["answer to an unknown key"] = r.get(t, "/v1/status", http.Header{"Authorization": {"Bearer " + r.secrets["unknown key"]}})
	r.outputs["answer to a bad batch"] = r.send(t, http.MethodPost, "/v1/batch", `{"op":"nothing"}`, header)
	r.sendRaw(t, "GET /v1/keys/\x1b\x9b HTTP/1.1\r\nHost: localhost\r\nX: \x1b[2J\r\n\r\n")
	r.sendRaw(t, "\x16\x03\x01\x1b\u202e\r\n\r\n")
	runnel.Eventually(t, 30*time.Second, "the webhook's refusal is logged", func() error {
		if !strings.Contains(r.node.Log.String(), "the webhook rejects requests") {
			return fmt.Errorf("no line about it")
		}
		return nil
	})
}

// sendRaw sends bytes that no HTTP client would send.
func (r *secretsRun) sendRaw(t *testing.T, request string) {
	t.Helper()
	_, address, _ := strings.Cut(r.node.URL, "://")
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if transport, secure := r.client.Transport.(*http.Transport); secure && strings.HasPrefix(request, "GET") {
		settings := transport.TLSClientConfig.Clone()
		settings.ServerName, settings.NextProtos = "localhost", nil
		c = tls.Client(c, settings)
	}
	io.WriteString(c, request)
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	io.Copy(io.Discard, c)
}

// runCommands keeps the output of the commands that read the configuration or present a key.
func (r *secretsRun) runCommands(t *testing.T) {
	t.Helper()
	t.Setenv("RUNNEL_KEY", r.token)
	for _, args := range [][]string{
		{"config", "check", r.config}, {"doctor", "-c", r.config}, {"doctor", "--json", "-c", r.config, "--pid", fmt.Sprint(r.node.PID())}, {"sync", "--once", "-c", r.config},
		append([]string{"status", "-v"}, r.atNode...), append([]string{"get", "nothing", "-v"}, r.atNode...), {"get", "k", "-v", "--retry", "0", "--server", "http://u:" + r.secrets["wrong password"] + "@127.0.0.1:1"}, {"key", "list", "-c", r.config},
	} {
		out, err := runnel.Run(t, args...)
		if err != nil {
			out += strings.ReplaceAll(err.Error(), strings.Join(args, " "), "") // the error repeats the arguments
		}
		r.outputs["output of "+args[0]] += out
	}
}

// reloadFaulty makes the server read a faulty configuration, with secrets where text is expected and in places of no use.
func (r *secretsRun) reloadFaulty(t *testing.T) {
	t.Helper()
	good, err := os.ReadFile(r.config)
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range []string{
		"[[partition]]\nname = \"x\"\nurl = " + r.secrets["wrong password"] + "\n", "[[partition]]\nname = \"x\"\nurl = \"mysql://u:" + r.secrets["wrong password"] + "@@h/\"\n",
		"[[webhook]]\nurl = \"http://u:" + r.secrets["wrong password"] + "@h/\"\nsecret = \"short\"\n",
	} {
		before := strings.Count(r.node.Log.String(), "is faulty")
		if err := os.WriteFile(r.config, append(bytes.Clone(good), fault...), 0o600); err != nil {
			t.Fatal(err)
		}
		r.node.Signal(syscall.SIGHUP)
		runnel.Eventually(t, 30*time.Second, "the faulty configuration is logged", func() error {
			if strings.Count(r.node.Log.String(), "is faulty") == before {
				return fmt.Errorf("no line about it")
			}
			return nil
		})
	}
}

// readProcess keeps the profiles of the server, the command line, which every user of the machine can read, and the
// environment, which holds the password that was put there.
func (r *secretsRun) readProcess(t *testing.T) {
	t.Helper()
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1", "/debug/pprof/cmdline"} {
		answer, err := http.Get("http://" + r.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		if answer.Body.Close(); err != nil {
			t.Fatal(err)
		}
		r.outputs[path+" for operators"] = string(text)
	}
	for file, place := range map[string]string{"cmdline": "command line", "environ": "environment"} {
		path := fmt.Sprintf("/proc/%d/%s", r.node.PID(), file)
		text, err := os.ReadFile(path)
		if err != nil || len(text) == 0 {
			t.Fatalf("the %s is %q: %v", place, text, err)
		}
		r.outputs[place] = strings.Replace(string(text), "TEST_DB_PASSWORD="+r.secrets["password in the environment"], "", 1)
		if info, err := os.Stat(path); file == "environ" && (err != nil || info.Mode().Perm()&0o077 != 0) {
			t.Errorf("other users can read the environment: %v, %v", info, err)
		}
	}
}

// readLogFiles keeps the access log and the audit log.
func (r *secretsRun) readLogFiles(t *testing.T) {
	t.Helper()
	for _, name := range []string{"access", "audit"} {
		text, err := os.ReadFile(filepath.Join(r.dir, name))
		if lines := bytes.Count(text, []byte("\n")); err != nil || lines < 20 {
			t.Errorf("the %s log has %d lines: %v", name, lines, err)
		}
		r.outputs[name+" log"] = string(text)
	}
}

// dumpGoroutines ends the server with SIGQUIT, while requests are in flight.
func (r *secretsRun) dumpGoroutines(t *testing.T) {
	t.Helper()
	for range 20 {
		go func() {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, r.node.URL+"/v1/keys/k", strings.NewReader(r.secrets["value"]))
			if err != nil {
				return
			}
			request.Header.Set("Authorization", "Bearer "+r.token)
			if answer, err := r.client.Do(request); err == nil {
				answer.Body.Close()
			}
		}()
	}
	r.node.Signal(syscall.SIGQUIT)
	<-r.node.Exited
	if dump := r.node.Log.String(); !strings.Contains(dump, "SIGQUIT") || !strings.Contains(dump, "goroutine 1 ") {
		t.Errorf("the server wrote no dump:\n%s", r.node.Log.Tail())
	}
}

// checkLog finds hidden characters and forged lines in a log.
func checkLog(t *testing.T, log, format string) {
	t.Helper()
	for _, fault := range logFaults(log, format) {
		t.Error(fault)
	}
	if strings.Count(log, "\n") < 20 {
		t.Errorf("the log is short:\n%s", log)
	}
}

func logFaults(log, format string) (faults []string) {
	start := map[string]string{"text": "time=2", "json": `{"time":"2`}[format]
	for line := range strings.Lines(log) {
		if !strings.HasPrefix(line, start) && !strings.HasPrefix(line, "runnel serves http") {
			faults = append(faults, fmt.Sprintf("a line that is no record: %q", line))
		}
		if strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\x1b\x07\x7f\r\u009b\u202e\u2028") {
			faults = append(faults, fmt.Sprintf("a line with hidden characters: %q", line))
		}
	}
	return faults
}

// TestForgedLogLinesAreFound shows that the check of logs can fail.
func TestForgedLogLinesAreFound(t *testing.T) {
	for _, log := range []string{"time=2026 msg=a\n" + hostile + "\n", "time=2026 msg=\u202e\n", "time=2026 msg=\u009b\n"} {
		if len(logFaults(log, "text")) == 0 {
			t.Errorf("nothing is found in %q", log)
		}
	}
}
