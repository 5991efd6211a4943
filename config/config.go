package config

import (
	_ "embed" // for Example
	"fmt"
	"log/slog"
	"path/filepath"
	"time"
)

// Example is a file with every key, its default and the reason. Load returns Default("data") for this file.
//
//go:embed example.toml
var Example string

// Config is a whole configuration. Load returns a valid and complete Config: every default is filled in.
type Config struct {
	HTTP       HTTP        `toml:"http" json:"http"`
	Store      Store       `toml:"store" json:"store"`
	Sync       Sync        `toml:"sync" json:"sync"`
	Files      Files       `toml:"files" json:"files"`
	S3         S3          `toml:"s3" json:"s3"`
	Terraform  Terraform   `toml:"terraform" json:"terraform"`
	Admin      Admin       `toml:"admin" json:"admin"`
	Log        Log         `toml:"log" json:"log"`
	Audit      Audit       `toml:"audit" json:"audit"`
	Limits     Limits      `toml:"limits" json:"limits"`
	Auth       Auth        `toml:"auth" json:"auth"`
	Partitions []Partition `toml:"partition" json:"partition"` // in the order of the file
	Webhooks   []Webhook   `toml:"webhook" json:"webhook"`     // in the order of the file
	Keys       []Key       `toml:"key" json:"key"`             // in the order of the file

	Quotas       []Quota       `toml:"quota" json:"quota"`             // in the order of the file
	Certificates []Certificate `toml:"certificate" json:"certificate"` // in the order of the file
}

// HTTP configures the server: address, timeouts and bounds.
type HTTP struct {
	Listen             string        `toml:"listen" json:"listen"`             // host:port
	Hosts              []string      `toml:"hosts" json:"hosts"`               // host names of requests that are answered, besides localhost and the host of Listen
	CORSOrigins        []string      `toml:"cors_origins" json:"cors_origins"` // whose pages may use the API, as browsers write them
	ReadHeaderTimeout  time.Duration `toml:"read_header_timeout" json:"read_header_timeout"`
	ReadTimeout        time.Duration `toml:"read_timeout" json:"read_timeout"`
	WriteTimeout       time.Duration `toml:"write_timeout" json:"write_timeout"`
	IdleTimeout        time.Duration `toml:"idle_timeout" json:"idle_timeout"`
	Drain              time.Duration `toml:"drain" json:"drain"` // how long a stopping server serves on while /readyz fails
	ShutdownTimeout    time.Duration `toml:"shutdown_timeout" json:"shutdown_timeout"`
	MaxHeaderBytes     Size          `toml:"max_header_bytes" json:"max_header_bytes"`
	MaxConnections     int           `toml:"max_connections" json:"max_connections"`           // 0: as many as the file descriptors allow
	MaxIdleConnections int           `toml:"max_idle_connections" json:"max_idle_connections"` // that wait for their next request
	RequestMemory      Size          `toml:"request_memory" json:"request_memory"`             // for bodies and values of all requests; 0: a quarter of the process's memory limit
	TrustedProxies     []string      `toml:"trusted_proxies" json:"trusted_proxies"`           // addresses and networks; see ParseProxies
	TLS                TLS           `toml:"tls" json:"tls"`
}

// Store configures the masters, the bounds of keys, values and commits, and the choice of partitions for reads.
type Store struct {
	Masters            []string      `toml:"masters" json:"masters"` // names of partitions, never empty
	Read               Read          `toml:"read" json:"read"`
	Local              string        `toml:"local" json:"local"` // with ReadLocal, a partition's name
	SessionWait        time.Duration `toml:"session_wait" json:"session_wait"`
	MaxKeyBytes        Size          `toml:"max_key_bytes" json:"max_key_bytes"`
	MaxValueBytes      Size          `toml:"max_value_bytes" json:"max_value_bytes"`
	TablePrefix        string        `toml:"table_prefix" json:"table_prefix"`
	Timeout            time.Duration `toml:"timeout" json:"timeout"` // of a database operation
	RequireDurable     bool          `toml:"require_durable" json:"require_durable"`
	MinFreeDisk        Size          `toml:"min_free_disk" json:"min_free_disk"` // 0: no floor
	CommitBatchEntries int           `toml:"commit_batch_entries" json:"commit_batch_entries"`
	CommitBatchBytes   Size          `toml:"commit_batch_bytes" json:"commit_batch_bytes"`
	CacheBytes         Size          `toml:"cache_bytes" json:"cache_bytes"` // 0: no cache
}

// Read is how a read chooses among the partitions that qualify.
type Read string

// The values of Read.
const (
	ReadRandom  Read = "random"  // spreads reads evenly
	ReadNearest Read = "nearest" // the partition with the lowest recent latency
	ReadLocal   Read = "local"   // Store.Local
)

// Sync configures the sync process.
type Sync struct {
	Schedule     string        `toml:"schedule" json:"schedule"` // a spec for cron.ParseStandard
	BatchEntries int           `toml:"batch_entries" json:"batch_entries"`
	BatchBytes   Size          `toml:"batch_bytes" json:"batch_bytes"`
	Timeout      time.Duration `toml:"timeout" json:"timeout"` // of reading or applying a batch
	BackoffMax   time.Duration `toml:"backoff_max" json:"backoff_max"`
	Lease        time.Duration `toml:"lease" json:"lease"`
	// TombstoneGrace is how long tombstones are kept after every partition has passed them, for readers of changes.
	TombstoneGrace time.Duration `toml:"tombstone_grace" json:"tombstone_grace"`
	Verify         string        `toml:"verify" json:"verify"` // a spec as Schedule; "": never
}

// Files configures the chunks of files.
type Files struct {
	ChunkBytes Size          `toml:"chunk_bytes" json:"chunk_bytes"` // of new files
	Copies     int           `toml:"copies" json:"copies"`           // of new files; at most as many as there are partitions
	Grace      time.Duration `toml:"grace" json:"grace"`             // after the last use of a chunk that no file has
	CheckEvery time.Duration `toml:"check_every" json:"check_every"` // between two passes over the chunks
	ScrubRate  Size          `toml:"scrub_rate" json:"scrub_rate"`   // bytes a second that are read and compared; 0: none
}

// S3 configures the listener for tools that speak the protocol of Amazon S3.
type S3 struct {
	Listen string `toml:"listen" json:"listen"` // host:port; "": none
	Domain string `toml:"domain" json:"domain"` // BUCKET.Domain names a bucket; "": buckets stand in the path alone
}

// Terraform configures the states of Terraform and OpenTofu.
type Terraform struct {
	Keep int `toml:"keep" json:"keep"` // versions of each state, the present version among them
}

// Admin configures the listener for operators.
type Admin struct {
	Listen string `toml:"listen" json:"listen"` // host:port; "": none
}

// Limits bounds the requests of a client. 0 is no limit.
type Limits struct {
	RequestsPerAddress int `toml:"requests_per_address" json:"requests_per_address"` // a second
	RequestsPerKey     int `toml:"requests_per_key" json:"requests_per_key"`         // a second
	StreamsPerAddress  int `toml:"streams_per_address" json:"streams_per_address"`   // long answers at once, to requests without a key
	StreamsPerKey      int `toml:"streams_per_key" json:"streams_per_key"`           // long answers at once
	FailuresPerAddress int `toml:"failures_per_address" json:"failures_per_address"` // failed authentications, a minute
}

// Audit configures the audit log.
type Audit struct {
	File     string `toml:"file" json:"file"`         // "": no audit log
	Reads    bool   `toml:"reads" json:"reads"`       // record reads too
	Required bool   `toml:"required" json:"required"` // refuse requests while no line can be written
}

// Log configures the log.
type Log struct {
	Level        slog.Level   `toml:"level" json:"level"` // debug, info, warn or error
	Format       Format       `toml:"format" json:"format"`
	Access       string       `toml:"access" json:"access"` // file with a line for each request; "": none
	AccessFormat AccessFormat `toml:"access_format" json:"access_format"`
}

// Format is the form of a log line.
type Format string

// The values of Format.
const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// AccessFormat is the form of a line of the access log.
type AccessFormat string

// The values of AccessFormat.
const (
	AccessCombined AccessFormat = "combined" // of Apache and nginx
	AccessJSON     AccessFormat = "json"
)

// Partition is a database with a copy of the data.
type Partition struct {
	Name           string `toml:"name" json:"name"`
	URL            URL    `toml:"url" json:"url"`                                         // with the password of PasswordFile, if set
	PasswordFile   string `toml:"password_file,omitempty" json:"password_file,omitempty"` // Load has read this file
	MaxConnections int    `toml:"max_connections" json:"max_connections"`
}

// Webhook is an endpoint that receives changes.
type Webhook struct {
	URL    string `toml:"url" json:"url"`       // http or https
	Prefix string `toml:"prefix" json:"prefix"` // only changes of keys with this prefix are sent; "" for all
	Secret Secret `toml:"secret" json:"secret"` // signs the requests; that of SecretFile, if set
	CA     string `toml:"ca" json:"ca"`         // a PEM file of the authorities that sign the endpoint's certificate; "": those of the system

	SecretFile string `toml:"secret_file" json:"secret_file"` // Load has read this file; "": none
}

// Certificate gives the holder of a client's certificate the grants of an API key.
type Certificate struct {
	SAN string `toml:"san" json:"san"` // a URI or a DNS name of the certificate
	Key string `toml:"key" json:"key"` // id of the API key, of this file or of the store
}

// Default returns the configuration without a file: three SQLite partitions in dataDir, partition-0 to partition-2 with
// partition-0 as the master, and every other key at its default.
func Default(dataDir string) *Config {
	c := base()
	for i := range 3 {
		name := fmt.Sprintf("partition-%d", i)
		p := basePartition()
		p.Name, p.URL = name, URL{Scheme: SQLite, Path: filepath.Join(dataDir, name+".db")}
		c.Partitions = append(c.Partitions, p)
	}
	c.Store.Masters = []string{c.Partitions[0].Name}
	return c
}

// base returns the defaults, without partitions and masters.
func base() *Config {
	return &Config{
		HTTP: HTTP{
			Listen:             "127.0.0.1:8080",
			Hosts:              []string{},
			CORSOrigins:        []string{},
			ReadHeaderTimeout:  10 * time.Second,
			ReadTimeout:        time.Minute,
			WriteTimeout:       time.Minute,
			IdleTimeout:        2 * time.Minute,
			MaxIdleConnections: 1000,
			ShutdownTimeout:    30 * time.Second,
			MaxHeaderBytes:     64 * KiB,
			TrustedProxies:     []string{},
			TLS:                TLS{ClientAuth: ClientNone},
		},
		Store: Store{
			Read:               ReadRandom,
			SessionWait:        250 * time.Millisecond,
			MaxKeyBytes:        512,
			MaxValueBytes:      15 * MiB,
			Timeout:            5 * time.Second,
			CommitBatchEntries: 1024,
			CommitBatchBytes:   4 * MiB,
			CacheBytes:         64 * MiB,
		},
		Sync: Sync{
			Schedule:     "@every 1s",
			BatchEntries: 2000,
			BatchBytes:   8 * MiB,
			Timeout:      30 * time.Second,
			BackoffMax:   30 * time.Second,
			Lease:        15 * time.Second,

			TombstoneGrace: time.Hour,
		},
		Files: Files{ChunkBytes: MiB, Copies: 2, Grace: time.Hour, CheckEvery: 5 * time.Minute, ScrubRate: 4 * MiB},
		Log:   Log{Level: slog.LevelInfo, Format: FormatText, AccessFormat: AccessCombined},

		Terraform: Terraform{Keep: 20},

		Limits: Limits{FailuresPerAddress: 10, StreamsPerAddress: 2000, StreamsPerKey: 2000},
		Auth:   Auth{MaxStale: 5 * time.Minute},
	}
}

func basePartition() Partition { return Partition{MaxConnections: 16} }
