package status

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/runnelkv/runnel/store"
)

// figures are the metrics of the store and the sync process.
type figures struct {
	*Service

	masterSlots, moveUnderWay, ledgerHalted *prometheus.Desc
	failoverAfter, failoverCooling          *prometheus.Desc

	epoch, up, readable, writable, latency  *prometheus.Desc
	revision, lagRevisions, lagSeconds, age *prometheus.Desc
	passes, passSeconds, passAge            *prometheus.Desc
	remaining, swept, collected             *prometheus.Desc
	damaged, repaired, verified             *prometheus.Desc
	cacheReads, cacheEntries, cacheBytes    *prometheus.Desc
	quotaKeys, quotaBytes                   *prometheus.Desc
	quotaMaxKeys, quotaMaxBytes             *prometheus.Desc
}

// NewFigures returns the metrics of the store and the sync process.
func NewFigures(s *Service) prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("runnel_"+name, help, labels, nil)
	}
	return &figures{
		Service:      s,
		epoch:        desc("epoch", "Epoch of the cluster map."),
		masterSlots:  desc("master_slots", "Slots of the master, without those that are moving.", "master"),
		moveUnderWay: desc("move_under_way", "1 while slots move from a master to another."),
		ledgerHalted: desc("ledger_halted", "1 while the ledger takes no writes because its books did not add up."),

		failoverAfter:   desc("failover_after_seconds", "After which time a sync process replaces a lost master by itself; 0: never."),
		failoverCooling: desc("failover_cooling", "1 within the cooldown after a sync process has replaced a master."),

		up:           desc("partition_ready", "1 while the partition's state is ready.", "partition", "kind", "role"),
		readable:     desc("partition_readable", "1 while the partition serves reads of every origin.", "partition"),
		writable:     desc("partition_writable", "1 while the partition takes writes.", "partition"),
		latency:      desc("partition_latency_seconds", "Smoothed time of recent operations.", "partition"),
		revision:     desc("partition_revision", "Revision up to which the partition holds everything of the origin.", "partition", "origin"),
		lagRevisions: desc("partition_lag_revisions", "Revisions of the origin that the partition does not hold yet.", "partition", "origin"),
		lagSeconds:   desc("partition_lag_seconds", "0 when level, else upper bound of the age of the partition's view of the origin.", "partition", "origin"),
		age:          desc("partition_age_seconds", "Age of the proof that the partition holds everything of the origin of then.", "partition", "origin"),
		passes:       desc("sync_passes_total", "Passes of the sync process in this process."),
		passSeconds:  desc("sync_last_pass_seconds", "Duration of the last pass."),
		passAge:      desc("sync_last_pass_timestamp_seconds", "When the last pass ended, in seconds since 1970."),
		swept:        desc("sync_swept_total", "Expired entries made tombstones on the partition.", "partition"),
		collected:    desc("sync_collected_total", "Tombstones removed from the partition.", "partition"),
		cacheReads:   desc("cache_reads_total", "Reads that the cache might have answered, by whether it did.", "result"),
		cacheEntries: desc("cache_entries", "Entries in the cache, about."),
		cacheBytes:   desc("cache_bytes", "Memory that they take, about."),
		quotaKeys:    desc("quota_keys", "Live entries whose names begin with the prefix.", "prefix"),
		quotaBytes:   desc("quota_bytes", "Bytes in their values.", "prefix"),
		quotaMaxKeys: desc("quota_max_keys", "Limit of the entries.", "prefix"),

		quotaMaxBytes: desc("quota_max_bytes", "Limit of the bytes in their values.", "prefix"),

		damaged:  desc("damaged_reads_total", "Reads that have met a damaged copy of an entry, which was not served."),
		repaired: desc("damaged_repaired_total", "Damaged copies that were repaired after such a read."),
		verified: desc("partition_verified_timestamp_seconds", "When the partition was last verified in full, in seconds since 1970; 0: never.", "partition"),

		remaining: desc("sync_target_remaining_revisions", "Revisions that the target lacks.", "partition"),
	}
}

// Describe implements prometheus.Collector.
func (f *figures) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range [...]*prometheus.Desc{
		f.epoch, f.masterSlots, f.moveUnderWay, f.ledgerHalted, f.failoverAfter, f.failoverCooling, f.up, f.readable, f.writable, f.latency, f.revision, f.lagRevisions, f.lagSeconds, f.age,
		f.passes, f.passSeconds, f.passAge, f.remaining, f.swept, f.collected, f.cacheReads, f.cacheEntries, f.cacheBytes,
		f.quotaKeys, f.quotaBytes, f.quotaMaxKeys, f.quotaMaxBytes, f.damaged, f.repaired, f.verified,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (f *figures) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	st := f.storeStatus()
	gauge(f.epoch, float64(st.Epoch))
	if m := f.store.ClusterMap(); m != nil {
		for _, master := range m.Masters {
			gauge(f.masterSlots, float64(master.Slots), master.Name)
		}
		gauge(f.moveUnderWay, oneIf(m.Move != nil))
		gauge(f.ledgerHalted, oneIf(m.Halted != ""))
		gauge(f.failoverAfter, m.Failover.After.Seconds())
		gauge(f.failoverCooling, oneIf(m.Failover.Cooling > 0))
	}
	for i := range st.Partitions {
		f.collectPartition(gauge, &st.Partitions[i])
	}
	if st.Cache.MaxBytes > 0 {
		ch <- prometheus.MustNewConstMetric(f.cacheReads, prometheus.CounterValue, float64(st.Cache.Hits), "hit")
		ch <- prometheus.MustNewConstMetric(f.cacheReads, prometheus.CounterValue, float64(st.Cache.Misses), "miss")
		gauge(f.cacheEntries, float64(st.Cache.Entries))
		gauge(f.cacheBytes, float64(st.Cache.Bytes))
	}
	f.collectQuotas(gauge, st.Quotas)
	ch <- prometheus.MustNewConstMetric(f.damaged, prometheus.CounterValue, float64(st.Damaged))
	ch <- prometheus.MustNewConstMetric(f.repaired, prometheus.CounterValue, float64(st.Repaired))
	if f.syncer == nil {
		return
	}
	sync := f.syncer.SyncStatus()
	ch <- prometheus.MustNewConstMetric(f.passes, prometheus.CounterValue, float64(sync.Passes))
	gauge(f.passSeconds, sync.Took.Seconds())
	if !sync.LastPass.IsZero() {
		gauge(f.passAge, float64(sync.LastPass.UnixMilli())/1000)
	}
	for _, t := range sync.Targets {
		gauge(f.remaining, float64(t.Remaining), string(t.Name))
		ch <- prometheus.MustNewConstMetric(f.swept, prometheus.CounterValue, float64(t.Swept), string(t.Name))
		ch <- prometheus.MustNewConstMetric(f.collected, prometheus.CounterValue, float64(t.Collected), string(t.Name))
	}
}

func (f *figures) collectPartition(gauge func(*prometheus.Desc, float64, ...string), p *store.PartitionStatus) {
	role := "replica"
	if p.Master {
		role = "master"
	}
	gauge(f.up, oneIf(p.State == store.Ready), p.Name, p.Kind, role)
	gauge(f.readable, oneIf(p.Readable), p.Name)
	gauge(f.writable, oneIf(p.Writable), p.Name)
	gauge(f.latency, p.Latency.Seconds(), p.Name)
	gauge(f.verified, max(float64(p.Verified.UnixMilli())/1000, 0), p.Name)
	for _, o := range p.Origins {
		gauge(f.revision, float64(o.Revision), p.Name, string(o.Origin))
		gauge(f.lagRevisions, float64(o.LagRevisions), p.Name, string(o.Origin))
		if o.Lag >= 0 {
			gauge(f.lagSeconds, o.Lag.Seconds(), p.Name, string(o.Origin))
			gauge(f.age, o.Age.Seconds(), p.Name, string(o.Origin))
		}
	}
}

func (f *figures) collectQuotas(gauge func(*prometheus.Desc, float64, ...string), quotas []store.QuotaStatus) {
	for _, q := range quotas {
		gauge(f.quotaKeys, float64(q.Used.Keys), q.Prefix)
		gauge(f.quotaBytes, float64(q.Used.Bytes), q.Prefix)
		if q.MaxKeys > 0 {
			gauge(f.quotaMaxKeys, float64(q.MaxKeys), q.Prefix)
		}
		if q.MaxBytes > 0 {
			gauge(f.quotaMaxBytes, float64(q.MaxBytes), q.Prefix)
		}
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
