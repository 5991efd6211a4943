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
	Log        Log         `toml:"log" json:"log"`
	Partitions []Partition `toml:"partition" json:"partition"` // in the order of the file
	Webhooks   []Webhook   `toml:"webhook" json:"webhook"`     // in the order of the file
}

// HTTP configures the server: address, timeouts and bounds.
type HTTP struct {
	Listen            string        `toml:"listen" json:"listen"` // host:port
	Hosts             []string      `toml:"hosts" json:"hosts"`   // host names of requests that are answered, besides localhost and the host of Listen
	ReadHeaderTimeout time.Duration `toml:"read_header_timeout" json:"read_header_timeout"`
	ReadTimeout       time.Duration `toml:"read_timeout" json:"read_timeout"`
	WriteTimeout      time.Duration `toml:"write_timeout" json:"write_timeout"`
	IdleTimeout       time.Duration `toml:"idle_timeout" json:"idle_timeout"`
	ShutdownTimeout   time.Duration `toml:"shutdown_timeout" json:"shutdown_timeout"`
	MaxHeaderBytes    Size          `toml:"max_header_bytes" json:"max_header_bytes"`
	MaxConnections    int           `toml:"max_connections" json:"max_connections"` // 0: as many as the file descriptors allow
	RequestMemory     Size          `toml:"request_memory" json:"request_memory"`   // for bodies and values of all requests; 0: a quarter of the process's memory limit
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
}

// Log configures the log.
type Log struct {
	Level  slog.Level `toml:"level" json:"level"` // debug, info, warn or error
	Format Format     `toml:"format" json:"format"`
}

// Format is the form of a log line.
type Format string

// The values of Format.
const (
	FormatText Format = "text"
	FormatJSON Format = "json"
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
	Secret Secret `toml:"secret" json:"secret"` // signs the requests
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
			Listen:            "127.0.0.1:8080",
			Hosts:             []string{},
			ReadHeaderTimeout: 10 * time.Second,
			ReadTimeout:       time.Minute,
			WriteTimeout:      time.Minute,
			IdleTimeout:       2 * time.Minute,
			ShutdownTimeout:   30 * time.Second,
			MaxHeaderBytes:    64 * KiB,
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
		Log: Log{Level: slog.LevelInfo, Format: FormatText},
	}
}

func basePartition() Partition { return Partition{MaxConnections: 16} }
