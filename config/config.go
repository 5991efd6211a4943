package config

import (
	_ "embed" // for Example
	"fmt"
	"log/slog"
	"path/filepath"
	"time"
)

// Example is a file that holds every key with its default and why; it loads to what Default("data") returns.
//
//go:embed example.toml
var Example string

// Config is a whole configuration. What Load returns is valid and complete: every default is filled in.
type Config struct {
	HTTP       HTTP        `toml:"http" json:"http"`
	Store      Store       `toml:"store" json:"store"`
	Sync       Sync        `toml:"sync" json:"sync"`
	Log        Log         `toml:"log" json:"log"`
	Partitions []Partition `toml:"partition" json:"partition"` // in the order of the file
	Webhooks   []Webhook   `toml:"webhook" json:"webhook"`     // in the order of the file
}

// HTTP is the server's address and its patience.
type HTTP struct {
	Listen            string        `toml:"listen" json:"listen"` // host:port
	Hosts             []string      `toml:"hosts" json:"hosts"`   // names it answers for, beside localhost and the host of Listen
	ReadHeaderTimeout time.Duration `toml:"read_header_timeout" json:"read_header_timeout"`
	ReadTimeout       time.Duration `toml:"read_timeout" json:"read_timeout"`
	WriteTimeout      time.Duration `toml:"write_timeout" json:"write_timeout"`
	IdleTimeout       time.Duration `toml:"idle_timeout" json:"idle_timeout"`
	ShutdownTimeout   time.Duration `toml:"shutdown_timeout" json:"shutdown_timeout"`
	MaxHeaderBytes    Size          `toml:"max_header_bytes" json:"max_header_bytes"`
	MaxConnections    int           `toml:"max_connections" json:"max_connections"` // 0: what the file descriptors allow
	RequestMemory     Size          `toml:"request_memory" json:"request_memory"`   // 0: a quarter of the process's memory limit
}

// Store is who accepts writes, what is accepted, and how reads choose.
type Store struct {
	Masters            []string      `toml:"masters" json:"masters"` // names of partitions, never empty
	Read               Read          `toml:"read" json:"read"`
	Local              string        `toml:"local" json:"local"` // with ReadLocal, a partition's name
	SessionWait        time.Duration `toml:"session_wait" json:"session_wait"`
	MaxKeyBytes        Size          `toml:"max_key_bytes" json:"max_key_bytes"`
	MaxValueBytes      Size          `toml:"max_value_bytes" json:"max_value_bytes"`
	TablePrefix        string        `toml:"table_prefix" json:"table_prefix"`
	Timeout            time.Duration `toml:"timeout" json:"timeout"` // of one database operation
	RequireDurable     bool          `toml:"require_durable" json:"require_durable"`
	CommitBatchEntries int           `toml:"commit_batch_entries" json:"commit_batch_entries"`
	CommitBatchBytes   Size          `toml:"commit_batch_bytes" json:"commit_batch_bytes"`
	CacheBytes         Size          `toml:"cache_bytes" json:"cache_bytes"` // 0: no cache
}

// Read is how a read chooses among the partitions that qualify.
type Read string

// The ways there are.
const (
	ReadRandom  Read = "random"  // spreads reads evenly
	ReadNearest Read = "nearest" // the partition that has answered fastest lately
	ReadLocal   Read = "local"   // Store.Local
)

// Sync is the pace of the sync process.
type Sync struct {
	Schedule     string        `toml:"schedule" json:"schedule"` // as cron.ParseStandard reads it
	BatchEntries int           `toml:"batch_entries" json:"batch_entries"`
	BatchBytes   Size          `toml:"batch_bytes" json:"batch_bytes"`
	Timeout      time.Duration `toml:"timeout" json:"timeout"` // of reading or applying one batch
	BackoffMax   time.Duration `toml:"backoff_max" json:"backoff_max"`
	Lease        time.Duration `toml:"lease" json:"lease"`
	// TombstoneGrace is how long deletions are kept after every partition has passed them, for readers of changes.
	TombstoneGrace time.Duration `toml:"tombstone_grace" json:"tombstone_grace"`
}

// Log is what is logged, and how.
type Log struct {
	Level  slog.Level `toml:"level" json:"level"` // debug, info, warn or error
	Format Format     `toml:"format" json:"format"`
}

// Format is the form of a log line.
type Format string

// The forms there are.
const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// Partition is one database that holds a copy of the data.
type Partition struct {
	Name           string `toml:"name" json:"name"`
	URL            URL    `toml:"url" json:"url"`                                         // with the password of PasswordFile, if there is one
	PasswordFile   string `toml:"password_file,omitempty" json:"password_file,omitempty"` // already read
	MaxConnections int    `toml:"max_connections" json:"max_connections"`
}

// Webhook is an address that is told what changes.
type Webhook struct {
	URL    string `toml:"url" json:"url"`       // http or https
	Prefix string `toml:"prefix" json:"prefix"` // of the keys it is told of; "" for all
	Secret Secret `toml:"secret" json:"secret"` // signs what is sent
}

// Default returns what runs without a file: three SQLite partitions, partition-0 to partition-2, in dataDir, the
// first of them the master, and every other key at its default.
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

// base is a Config of defaults, still without partitions and masters.
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
