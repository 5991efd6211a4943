package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/robfig/cron/v3"
)

// Validate applies the rules of Load to a Config that was created or changed in Go. The error is [Problems] without file
// and line. Validate accesses the file system only to find two SQLite urls of the same file.
func (c *Config) Validate() error {
	r := &report{}
	newChecker(r).config(c)
	return r.err()
}

// checker checks a Config against the rules.
type checker struct {
	*report
	ranges map[string]string // by key, as the documentation must show them
}

func newChecker(r *report) *checker { return &checker{report: r, ranges: map[string]string{}} }

func (c *checker) config(cfg *Config) {
	c.http(cfg.HTTP)
	c.store(cfg.Store)
	c.sync(cfg.Sync)
	c.files(cfg.Files)
	c.s3(cfg.S3)
	c.count("terraform.keep", cfg.Terraform.Keep, 1, 1000)
	c.admin(cfg.Admin)
	c.log(cfg.Log)
	c.limits(cfg.Limits)
	if cfg.Audit.File == "" && (cfg.Audit.Reads || cfg.Audit.Required) {
		c.rule("audit.file", "is missing: the section has no effect without a file")
	}
	c.partitions(cfg.Partitions)
	c.masters(cfg.Store.Masters, cfg.Partitions)
	c.local(cfg.Store, cfg.Partitions)
	c.webhooks(cfg.Webhooks)
	c.auth(cfg.Auth)
	c.keys(cfg.Keys)
	c.certificates(cfg.Certificates)
	c.quotas(cfg.Quotas)
}

func (c *checker) http(h HTTP) {
	c.address("http.listen", h.Listen)
	for i, host := range h.Hosts {
		if !isHost(host) {
			c.rule(element("http.hosts", i), "is neither a host name nor an address; write it without a port")
		}
	}
	for i, origin := range h.CORSOrigins {
		if err := checkOrigin(origin); err != nil {
			c.rule(element("http.cors_origins", i), fmt.Sprintf("%q: %v", origin, err))
		}
	}
	c.duration("http.read_header_timeout", h.ReadHeaderTimeout, 10*time.Millisecond, time.Hour)
	c.duration("http.read_timeout", h.ReadTimeout, 10*time.Millisecond, 24*time.Hour)
	c.duration("http.write_timeout", h.WriteTimeout, 10*time.Millisecond, 24*time.Hour)
	c.duration("http.idle_timeout", h.IdleTimeout, 10*time.Millisecond, 24*time.Hour)
	c.duration("http.shutdown_timeout", h.ShutdownTimeout, 10*time.Millisecond, time.Hour)
	c.size("http.max_header_bytes", h.MaxHeaderBytes, 4*KiB, MiB)
	c.count("http.max_connections", h.MaxConnections, 0, 1_000_000)
	c.count("http.max_idle_connections", h.MaxIdleConnections, 1, 1_000_000)
	c.size("http.request_memory", h.RequestMemory, 0, 1024*GiB)
	c.duration("http.drain", h.Drain, 0, 10*time.Minute)
	c.proxies(h.TrustedProxies)
	c.tls(h.TLS)
}

func (c *checker) files(f Files) {
	c.size("files.chunk_bytes", f.ChunkBytes, 64*KiB, 8*MiB)
	c.count("files.copies", f.Copies, 1, 64)
	c.duration("files.grace", f.Grace, time.Minute, 30*24*time.Hour)
	c.duration("files.check_every", f.CheckEvery, time.Second, 24*time.Hour)
	c.size("files.scrub_rate", f.ScrubRate, 0, 64*GiB)
}

func (c *checker) s3(s S3) {
	if s.Listen != "" {
		c.address("s3.listen", s.Listen)
	}
	if s.Domain != "" && !isHost(s.Domain) {
		c.rule("s3.domain", "is not a host name; write it without a port")
	}
}

// checkOrigin rejects a text that no browser sends as the Origin of a page: the server compares bytes.
func checkOrigin(text string) error {
	const form = `must be an exact origin, such as "https://app.example.org" or "http://localhost:3000"`
	u, err := url.Parse(text)
	switch {
	case text == "*":
		return errors.New("lets the pages of every site in: list exact origins")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || !isHost(u.Hostname()):
		return errors.New(form)
	case u.Scheme+"://"+u.Host != text:
		return errors.New(form + ", without a path, a user or a query")
	case text != strings.ToLower(text):
		return errors.New("browsers write an origin in lower case")
	}
	defaults := map[string]string{"http": "80", "https": "443"}
	switch port := u.Port(); {
	case strings.HasSuffix(u.Host, ":"), port == defaults[u.Scheme]:
		return fmt.Errorf("browsers write no port for %s", u.Scheme)
	case port != "" && !isPort(port):
		return errors.New("its port must be a number in 1..65535, without leading zeros")
	}
	return nil
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0 && text[0] != '0'
}

func (c *checker) tls(t TLS) {
	if !slices.Contains([]ClientAuth{ClientNone, ClientRequest, ClientRequire}, t.ClientAuth) {
		c.rule("http.tls.client_auth", `must be "none", "request" or "require"`)
		return
	}
	asked := t.ClientAuth != ClientNone
	switch {
	case t.Cert == "" && t.Key != "":
		c.rule("http.tls.cert", "is missing: http.tls.key is of no use alone")
	case t.Cert != "" && t.Key == "":
		c.rule("http.tls.key", "is missing: the private key of http.tls.cert")
	case t.Cert == "" && asked:
		c.rule("http.tls.client_auth", "needs http.tls.cert and http.tls.key")
	case asked && t.ClientCA == "":
		c.rule("http.tls.client_ca", "is missing: the authorities that sign the certificates of clients")
	case !asked && t.ClientCA != "":
		c.rule("http.tls.client_ca", `has no effect with client_auth = "none"`)
	}
}

var keyID = regexp.MustCompile(`^[a-z2-7]{10}$`)

func (c *checker) certificates(certificates []Certificate) {
	seen := map[string]bool{}
	for i, cert := range certificates {
		key := element("certificate", i)
		switch {
		case cert.SAN == "" || len(cert.SAN) > 512:
			c.rule(key+".san", "must be a URI or a DNS name of 1..512 bytes")
		case seen[cert.SAN]:
			c.rule(key+".san", "has a section already")
		}
		seen[cert.SAN] = true
		if !keyID.MatchString(cert.Key) {
			c.rule(key+".key", "must be the id of an API key, as 'runnel key list' prints it")
		}
	}
}

func (c *checker) proxies(texts []string) {
	for i, text := range texts {
		if _, err := parseNetwork(text); err != nil {
			c.rule(element("http.trusted_proxies", i), err.Error())
		}
	}
}

func (c *checker) admin(a Admin) {
	if a.Listen != "" {
		c.address("admin.listen", a.Listen)
	}
}

var tablePrefix = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]{0,31})?$`)

func (c *checker) store(s Store) {
	switch s.Read {
	case ReadRandom, ReadNearest, ReadLocal:
	default:
		c.rule("store.read", `must be "random", "nearest" or "local"`)
	}
	c.duration("store.session_wait", s.SessionWait, 0, 10*time.Second)
	c.size("store.max_key_bytes", s.MaxKeyBytes, 1, 512)
	c.size("store.max_value_bytes", s.MaxValueBytes, 1, GiB)
	if !tablePrefix.MatchString(s.TablePrefix) {
		c.rule("store.table_prefix", "must be at most 32 letters, digits or '_', and begin with no digit")
	}
	c.duration("store.timeout", s.Timeout, 10*time.Millisecond, 10*time.Minute)
	c.size("store.min_free_disk", s.MinFreeDisk, 0, 1024*GiB)
	c.count("store.commit_batch_entries", s.CommitBatchEntries, 1, 10_000)
	c.size("store.commit_batch_bytes", s.CommitBatchBytes, 64*KiB, GiB)
	c.size("store.cache_bytes", s.CacheBytes, 0, 1024*GiB)
}

func (c *checker) sync(s Sync) {
	if err := checkSchedule(s.Schedule); err != nil {
		c.rule("sync.schedule", err.Error())
	}
	if s.Verify != "" {
		if err := checkSchedule(s.Verify); err != nil {
			c.rule("sync.verify", err.Error())
		}
	}
	c.count("sync.batch_entries", s.BatchEntries, 1, 100_000)
	c.size("sync.batch_bytes", s.BatchBytes, 64*KiB, GiB)
	c.duration("sync.timeout", s.Timeout, 100*time.Millisecond, 24*time.Hour)
	c.duration("sync.backoff_max", s.BackoffMax, time.Second, time.Hour)
	c.duration("sync.lease", s.Lease, time.Second, 10*time.Minute)
	c.duration("sync.tombstone_grace", s.TombstoneGrace, 0, 30*24*time.Hour)
}

func (c *checker) log(l Log) {
	if !slices.Contains(levels(), l.Level) {
		c.rule("log.level", `must be "debug", "info", "warn" or "error"`)
	}
	if !slices.Contains([]Format{FormatText, FormatJSON}, l.Format) {
		c.rule("log.format", `must be "text" or "json"`)
	}
	if !slices.Contains([]AccessFormat{AccessCombined, AccessJSON}, l.AccessFormat) {
		c.rule("log.access_format", `must be "combined" or "json"`)
	}
}

func (c *checker) limits(l Limits) {
	c.count("limits.requests_per_address", l.RequestsPerAddress, 0, 1_000_000)
	c.count("limits.requests_per_key", l.RequestsPerKey, 0, 1_000_000)
	c.count("limits.streams_per_address", l.StreamsPerAddress, 0, 1_000_000)
	c.count("limits.streams_per_key", l.StreamsPerKey, 0, 1_000_000)
	c.count("limits.failures_per_address", l.FailuresPerAddress, 0, 1_000_000)
}

const maxPartitions = 256

func (c *checker) partitions(partitions []Partition) {
	for i, p := range partitions {
		c.partition(partitionKey(i), p)
	}
	switch {
	case len(partitions) == 0:
		c.rule("partition", "there must be at least one: a section [[partition]] with name and url")
	case !c.atMost("partition", len(partitions), maxPartitions):
		return // distinct compares each pair
	}
	c.distinct(partitions)
}

func partitionKey(i int) string { return element("partition", i) }

var partitionName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

func (c *checker) partition(key string, p Partition) {
	switch {
	case p.Name == "":
		c.rule(key+".name", "is missing")
	case !partitionName.MatchString(p.Name):
		c.rule(key+".name", "must be 1..64 letters, digits, '_', '.' or '-', beginning with a letter or digit")
	}
	if p.URL.Scheme == "" {
		c.rule(key+".url", "is missing")
	} else {
		c.rule(key+".url", p.URL.faults()...)
	}
	c.count(key+".max_connections", p.MaxConnections, 4, 1000)
}

// distinct reports partitions with the name or the database of an earlier partition.
func (c *checker) distinct(partitions []Partition) {
	names, places := map[string]int{}, map[string]int{}
	for i, p := range partitions {
		if first, seen := names[p.Name]; !seen {
			names[p.Name] = i
		} else if p.Name != "" {
			c.rule(partitionKey(i)+".name", fmt.Sprintf("is the name of another partition too%s", c.seeLine(first, ".name")))
		}
		if c.faulty(partitionKey(i)+".url") || p.URL.Scheme == "" {
			continue
		}
		first, seen := places[p.URL.Identity()]
		for j := 0; !seen && j < i; j++ {
			first, seen = j, sameFile(partitions[j].URL, p.URL)
		}
		if seen {
			c.rule(partitionKey(i)+".url", fmt.Sprintf("is the database of another partition too%s", c.seeLine(first, ".url")))
			continue
		}
		places[p.URL.Identity()] = i
	}
}

func (c *checker) seeLine(i int, field string) string {
	if line := c.lines.of(partitionKey(i) + field); line > 0 {
		return fmt.Sprintf(" (line %d)", line)
	}
	return fmt.Sprintf(" (%s)", partitionKey(i))
}

func (c *checker) masters(masters []string, partitions []Partition) {
	if len(masters) == 0 && len(partitions) > 0 {
		c.rule("store.masters", "must name at least one partition")
	}
	unnamed := slices.ContainsFunc(partitions, func(p Partition) bool { return p.Name == "" })
	for i, master := range masters {
		key := element("store.masters", i)
		known := slices.ContainsFunc(partitions, func(p Partition) bool { return p.Name == master })
		switch {
		case slices.Contains(masters[:i], master):
			c.rule(key, fmt.Sprintf("names %q twice", master))
		case !known && !unnamed && len(partitions) > 0:
			c.rule(key, fmt.Sprintf("no partition is named %q", master))
		}
	}
}

func (c *checker) local(s Store, partitions []Partition) {
	known := slices.ContainsFunc(partitions, func(p Partition) bool { return p.Name == s.Local })
	switch {
	case s.Read == ReadLocal && s.Local == "":
		c.rule("store.local", `must name a partition, with read = "local"`)
	case s.Read == ReadLocal && !known && len(partitions) > 0:
		c.rule("store.local", fmt.Sprintf("no partition is named %q", s.Local))
	case s.Read != ReadLocal && s.Local != "":
		c.rule("store.local", `has no effect without read = "local"`)
	}
}

// rule reports broken rules of a key, unless an earlier step has found the key faulty.
func (c *checker) rule(key string, messages ...string) {
	if c.faulty(key) {
		return
	}
	for _, message := range messages {
		c.addf(key, "%s", message)
	}
}

func (c *checker) size(key string, v, low, high Size) {
	c.inRange(key, v >= low && v <= high, [3]string{v.String(), low.String(), high.String()})
}

func (c *checker) duration(key string, v, low, high time.Duration) {
	c.inRange(key, v >= low && v <= high, [3]string{shorten(v), shorten(low), shorten(high)})
}

func (c *checker) count(key string, v, low, high int) {
	c.inRange(key, v >= low && v <= high, [3]string{strconv.Itoa(v), strconv.Itoa(low), strconv.Itoa(high)})
}

// atMost reports whether there are no more tables of a kind than the limit.
func (c *checker) atMost(key string, n, limit int) bool {
	if n > limit {
		c.rule(key, fmt.Sprintf("there are %d, over the limit of %d", n, limit))
	}
	return n <= limit
}

const maxPrefixBytes = 512 // like the longest key

// keyPrefix reports whether keys can begin with a prefix.
func (c *checker) keyPrefix(key, prefix string) bool {
	ok := len(prefix) <= maxPrefixBytes && utf8.ValidString(prefix) && !strings.ContainsFunc(prefix, unicode.IsControl)
	if !ok {
		c.rule(key, fmt.Sprintf("must be at most %d bytes of valid UTF-8 without control characters, like the keys", maxPrefixBytes))
	}
	return ok
}

// inRange receives a value and the limits as texts.
func (c *checker) inRange(key string, ok bool, texts [3]string) {
	limits := texts[1] + ".." + texts[2]
	c.ranges[key] = limits
	if !ok {
		c.rule(key, fmt.Sprintf("is %s, outside %s", texts[0], limits))
	}
}

// shorten writes "1m" where Duration.String writes "1m0s".
func shorten(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func (c *checker) address(key, address string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		c.rule(key, `must be "host:port", such as "127.0.0.1:8080" or "[::1]:8080"`)
		return
	}
	if host != "" && !isHost(host) {
		c.rule(key, "its host is neither a host name nor an address")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		c.rule(key, "its port must be a number in 0..65535")
	}
}

var errSchedule = errors.New(`must be a cron line of five fields, such as "*/5 * * * *", or one of @every <duration>, ` +
	`@hourly, @daily, @weekly, @monthly, @yearly`)

// checkSchedule rejects a schedule that cron.ParseStandard rejects, or accepts and runs differently than written.
func checkSchedule(spec string) error {
	if interval, found := strings.CutPrefix(spec, "@every "); found {
		every, err := time.ParseDuration(interval)
		if err != nil {
			return errSchedule
		}
		if every < time.Second || every%time.Second != 0 {
			return errors.New("@every must be whole seconds, and at least one: cron keeps no finer time")
		}
	}
	if zoned(spec) && !strings.Contains(spec, " ") {
		return errSchedule // on which cron/v3 3.0.1 panics
	}
	schedule, err := cron.ParseStandard(spec)
	if err != nil {
		return errSchedule
	}
	if schedule.Next(time.Unix(0, 0)).IsZero() {
		return errors.New("this day never comes")
	}
	return nil
}

func zoned(spec string) bool {
	return strings.HasPrefix(spec, "TZ=") || strings.HasPrefix(spec, "CRON_TZ=")
}
