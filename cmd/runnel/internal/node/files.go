package node

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/runnelkv/runnel/api/wire"
	"github.com/runnelkv/runnel/config"
	"github.com/runnelkv/runnel/store"
	"github.com/runnelkv/runnel/store/file"
	"github.com/runnelkv/runnel/sync/files"
)

// openFiles returns the files of a store.
func openFiles(c *config.Config, s *store.Store, log *slog.Logger) (*file.Service, error) {
	return file.New(s, file.Options{ChunkBytes: int(c.Files.ChunkBytes), Copies: c.Files.Copies, Grace: c.Files.Grace, Logger: log})
}

// newKeeper returns the part of the sync process that keeps the chunks of files.
func newKeeper(c *config.Config, s *store.Store, f *file.Service, log *slog.Logger) *files.Keeper {
	rate := int64(c.Files.ScrubRate)
	if rate == 0 {
		rate = -1
	}
	return files.New(s, f, files.Options{Interval: c.Files.CheckEvery, ScrubRate: rate, Holder: fmt.Sprintf("%s/%d", hostName(), os.Getpid()), Logger: log})
}

// filesStatus describes the work on chunks.
func filesStatus(st files.Status) *wire.FilesStatus {
	d := &wire.FilesStatus{Stage: cmp.Or(st.Stage, "idle"), Passes: st.Passes, LastPass: timeOrNil(st.LastPass), Chunks: st.Chunks, Bytes: st.Bytes, Missing: st.Missing,
		Unused: st.Unused, Lost: st.Lost, Copied: st.Copied, Dropped: st.Dropped, Scrubbed: st.Scrubbed, VerifiedAt: timeOrNil(st.VerifiedAt)}
	if st.Standby && st.Stage == "" {
		d.Stage = "standby"
	}
	if st.Err != nil {
		d.Error = wire.Text(st.Err.Error())
	}
	return d
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	utc := t.UTC()
	return &utc
}

// filesCollector has the metrics of files; keeper may be nil.
type filesCollector struct {
	service *file.Service
	keeper  *files.Keeper
}

var (
	chunksRead     = prometheus.NewDesc("runnel_file_chunks_read_total", "Chunks read from a partition and found whole.", nil, nil)
	chunksWritten  = prometheus.NewDesc("runnel_file_chunks_written_total", "Chunks stored on a partition.", nil, nil)
	chunksDamaged  = prometheus.NewDesc("runnel_file_chunks_damaged_total", "Damaged copies of chunks that were found.", nil, nil)
	chunksAbsent   = prometheus.NewDesc("runnel_file_chunks_absent_total", "Copies of chunks that were not where they should be.", nil, nil)
	chunksRepaired = prometheus.NewDesc("runnel_file_chunks_repaired_total", "Copies of chunks that were restored.", nil, nil)

	filePasses    = prometheus.NewDesc("runnel_file_passes_total", "Passes over the chunks of files that have ended without an error.", nil, nil)
	fileChunks    = prometheus.NewDesc("runnel_file_chunks", "Chunks that files have, as of the last pass.", nil, nil)
	fileBytes     = prometheus.NewDesc("runnel_file_bytes", "Bytes of these chunks, a single copy each.", nil, nil)
	chunksMissing = prometheus.NewDesc("runnel_file_copies_missing", "Copies of chunks still to restore.", nil, nil)
	chunksUnused  = prometheus.NewDesc("runnel_file_chunks_unused", "Chunks that no file has and that wait for the grace time.", nil, nil)
	chunksLost    = prometheus.NewDesc("runnel_file_chunks_lost", "Chunks of files that no partition holds.", nil, nil)
	chunksDropped = prometheus.NewDesc("runnel_file_chunks_dropped_total", "Unused chunks that were dropped.", nil, nil)
	fileVerified  = prometheus.NewDesc("runnel_file_verified_timestamp_seconds", "When the last complete and clean round of comparing began, in seconds since 1970; 0: none.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c filesCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c filesCollector) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, t prometheus.ValueType, n int64) {
		ch <- prometheus.MustNewConstMetric(d, t, float64(n))
	}
	n := c.service.Figures()
	send(chunksRead, prometheus.CounterValue, n.ChunksRead)
	send(chunksWritten, prometheus.CounterValue, n.ChunksWritten)
	send(chunksDamaged, prometheus.CounterValue, n.Damaged)
	send(chunksAbsent, prometheus.CounterValue, n.Missing)
	send(chunksRepaired, prometheus.CounterValue, n.Repaired)
	if c.keeper == nil {
		return
	}
	st := c.keeper.Status()
	send(filePasses, prometheus.CounterValue, st.Passes)
	send(fileChunks, prometheus.GaugeValue, st.Chunks)
	send(fileBytes, prometheus.GaugeValue, st.Bytes)
	send(chunksMissing, prometheus.GaugeValue, st.Missing)
	send(chunksUnused, prometheus.GaugeValue, st.Unused)
	send(chunksLost, prometheus.GaugeValue, st.Lost)
	send(chunksDropped, prometheus.CounterValue, st.Dropped)
	send(fileVerified, prometheus.GaugeValue, max(st.VerifiedAt.Unix(), 0))
}
