package report

import "slices"

// Phase is a part of a run with systems and rounds of its own.
type Phase string

// The phases, in the order of a run.
const (
	MainPhase        Phase = "main"
	GrowthPhase      Phase = "growth"
	ReplicationPhase Phase = "replication"
	AccessPhase      Phase = "access"
	LocksPhase       Phase = "locks"
	LedgerPhase      Phase = "ledger"
	FilesPhase       Phase = "files"
)

// Phases lists all phases, in the order of a run.
var Phases = []Phase{MainPhase, GrowthPhase, ReplicationPhase, AccessPhase, LocksPhase, LedgerPhase, FilesPhase}

// ratios returns all ratios of this bench, most of them with a target.
func ratios(long bool) []ratio {
	all := slices.Concat(peerRatios(), caseRatios(), growthRatios(), replicationRatios(), accessRatios(), lockRatios(), ledgerRatios(), fileRatios())
	if !long {
		return all
	}
	return slices.Concat(all, atSize("mariadb", "1e7", 0.7), atSize("embedded", "1e7", 0.7))
}

// at compares the same point on two systems of the main phase, by the rate.
func at(name, ours, other string, p Point, target float64) ratio {
	return ratio{name: name, phase: MainPhase, ours: ours, other: other, ourPoint: p, otherPoint: p, metric: Rate, target: target}
}

// stored compares reads past the cache with another system's reads.
func stored(name, ours, other string) ratio {
	return ratio{name: name, phase: MainPhase, ours: ours, other: other, ourPoint: getStored, otherPoint: GetMany, metric: Rate}
}

// peerRatios compare Runnel with the ceiling and with the alternatives.
func peerRatios() []ratio {
	return []ratio{
		at("get-mariadb/ceiling", OurMariaDB, "ceiling", GetMany, 0.75),
		at("get-embedded/ceiling", OurEmbedded, "ceiling", GetMany, 0.80),
		stored("get-stored-mariadb/ceiling", OurMariaDB, "ceiling"),
		stored("get-stored-embedded/ceiling", OurEmbedded, "ceiling"),
		stored("get-stored-mariadb/plain", OurMariaDB, "plain-mariadb"),
		at("get-mariadb/plain", OurMariaDB, "plain-mariadb", GetMany, 2.2),
		at("put-mariadb/ceiling", OurMariaDB, "ceiling", putMany, 0.55),
		at("put-embedded/ceiling", OurEmbedded, "ceiling", putMany, 0.55),
		at("put-mariadb/plain", OurMariaDB, "plain-mariadb", putMany, 2.0),
		at("get-mariadb/etcd", OurMariaDB, "etcd", GetMany, 3),
		at("put-mariadb/etcd", OurMariaDB, "etcd", putMany, 3),
		at("get-embedded/etcd", OurEmbedded, "etcd", GetMany, 3),
		at("put-embedded/etcd", OurEmbedded, "etcd", putMany, 3),
		at("get-embedded/redis-webdis", OurEmbedded, "redis-webdis", GetMany, 0.85),
		at("put-embedded/redis-webdis", OurEmbedded, "redis-webdis", putMany, 0.80),
	}
}

// caseRatios compare cases of Runnel, and bound tail latencies.
func caseRatios() []ratio {
	match, alone := Point{"put-if-match", 64, 100}, Point{"put", 1, 100}
	tail := func(name, ours string, p Point) ratio {
		return ratio{name, MainPhase, ours, "ceiling", p, p, p99, 2, true, nil}
	}
	return []ratio{
		{"put-if-match/put-mariadb", MainPhase, OurMariaDB, OurMariaDB, match, putMany, Rate, 0.75, false, nil},
		{"batch-get/get-mariadb", MainPhase, OurMariaDB, OurMariaDB, batchGet, GetMany, rateOf(batchGet), 5, false, nil},
		{"batch-get/get-embedded", MainPhase, OurEmbedded, OurEmbedded, batchGet, GetMany, rateOf(batchGet), 5, false, nil},
		tail("get-p99-mariadb/ceiling", OurMariaDB, GetMany),
		tail("get-p99-embedded/ceiling", OurEmbedded, GetMany),
		tail("put-p99-mariadb/ceiling", OurMariaDB, putMany),
		tail("put-p99-embedded/ceiling", OurEmbedded, putMany),
		{"put-p50-alone-mariadb/bare-upsert", MainPhase, OurMariaDB, "bare-mariadb", alone, alone, p50, 1.5, true, nil},
	}
}

// atSize compares reads of many entries with reads of 10^5 entries: through the cache, which holds less than 10^6
// entries, and past the cache.
func atSize(kind, size string, target float64) []ratio {
	ours, other := "runnel-"+kind+"-"+size, "runnel-"+kind+"-1e5"
	return []ratio{
		{"get-" + kind + "-" + size + "/1e5", GrowthPhase, ours, other, GetMany, GetMany, Rate, target, false, nil},
		{"get-stored-" + kind + "-" + size + "/1e5", GrowthPhase, ours, other, getStored, getStored, Rate, target, false, nil},
	}
}

// growthRatios compare sizes, and bound memory.
func growthRatios() []ratio {
	return slices.Concat(atSize("mariadb", "1e6", 0), atSize("embedded", "1e6", 0), []ratio{
		{name: "resident-embedded-1e6-filled", phase: GrowthPhase, ours: "runnel-embedded-1e6", ourPoint: ResidentFilled, metric: mebibytes, target: 128, atMost: true},
		{name: "resident-embedded-1e6-started", phase: GrowthPhase, ours: "runnel-embedded-1e6", ourPoint: ResidentStarted, metric: mebibytes, target: 128, atMost: true},
	})
}

// replicationRatios compare with MariaDB's own replication.
func replicationRatios() []ratio {
	const woken, other = "runnel-woken", "mariadb-replication"
	limit := func(name string, m Metric, target float64) ratio {
		return ratio{name: name, phase: ReplicationPhase, ours: woken, ourPoint: LagIdle, metric: m, target: target, atMost: true}
	}
	return []ratio{
		limit("lag-p50-idle", p50, 5),
		limit("lag-p99-idle", p99, 50),
		{"lag-p99-idle/mariadb-replication", ReplicationPhase, woken, other, LagIdle, LagIdle, p99, 0, true, nil},
		{"lag-p99-busy/mariadb-replication", ReplicationPhase, woken, other, LagBusy, LagBusy, p99, 1, true, nil},
		{"catch-up/mariadb-replication", ReplicationPhase, OurMariaDB, other, CatchUp, CatchUp, rateOf(CatchUp), 5, false, nil},
		{"catch-up/mariadb-replication-4-threads", ReplicationPhase, OurMariaDB, other + "-4-threads", CatchUp, CatchUp, rateOf(CatchUp), 0, false, nil},
		{"fresh/mariadb-replication", ReplicationPhase, OurMariaDB, other, Fresh, Fresh, seconds, 0, true, nil},
		{"fresh/mariadb-dump", ReplicationPhase, OurMariaDB, "mariadb-dump", Fresh, Fresh, seconds, 0, true, nil},
	}
}
