package main

import "slices"

// phase is a part of a run with systems and rounds of its own.
type phase string

const (
	mainPhase        phase = "main"
	growthPhase      phase = "growth"
	replicationPhase phase = "replication"
)

// ratios returns all ratios of this bench, most of them with a target.
func ratios(long bool) []ratio {
	all := slices.Concat(peerRatios(), caseRatios(), growthRatios(), replicationRatios())
	if !long {
		return all
	}
	return slices.Concat(all, atSize("mariadb", "1e7", 0.7), atSize("embedded", "1e7", 0.7))
}

// The points that most ratios compare, and the systems that are ours.
var (
	getMany   = point{"get", 64, 100}
	getStored = point{"get-stored", 64, 100}
	putMany   = point{"put", 64, 100}
)

const (
	ourMariaDB  = "runnel-mariadb"
	ourEmbedded = "runnel-embedded"
)

// at compares the same point on two systems of the main phase, by the rate.
func at(name, ours, other string, p point, target float64) ratio {
	return ratio{name: name, phase: mainPhase, ours: ours, other: other, ourPoint: p, otherPoint: p, metric: rate, target: target}
}

// stored compares reads past the cache with another system's reads.
func stored(name, ours, other string) ratio {
	return ratio{name: name, phase: mainPhase, ours: ours, other: other, ourPoint: getStored, otherPoint: getMany, metric: rate}
}

// peerRatios compare Runnel with the ceiling and with the alternatives.
func peerRatios() []ratio {
	return []ratio{
		at("get-mariadb/ceiling", ourMariaDB, "ceiling", getMany, 0.75),
		at("get-embedded/ceiling", ourEmbedded, "ceiling", getMany, 0.80),
		stored("get-stored-mariadb/ceiling", ourMariaDB, "ceiling"),
		stored("get-stored-embedded/ceiling", ourEmbedded, "ceiling"),
		stored("get-stored-mariadb/plain", ourMariaDB, "plain-mariadb"),
		at("get-mariadb/plain", ourMariaDB, "plain-mariadb", getMany, 2.2),
		at("put-mariadb/ceiling", ourMariaDB, "ceiling", putMany, 0.55),
		at("put-embedded/ceiling", ourEmbedded, "ceiling", putMany, 0.55),
		at("put-mariadb/plain", ourMariaDB, "plain-mariadb", putMany, 2.0),
		at("get-mariadb/etcd", ourMariaDB, "etcd", getMany, 3),
		at("put-mariadb/etcd", ourMariaDB, "etcd", putMany, 3),
		at("get-embedded/etcd", ourEmbedded, "etcd", getMany, 3),
		at("put-embedded/etcd", ourEmbedded, "etcd", putMany, 3),
		at("get-embedded/redis-webdis", ourEmbedded, "redis-webdis", getMany, 0.85),
		at("put-embedded/redis-webdis", ourEmbedded, "redis-webdis", putMany, 0.80),
	}
}

// caseRatios compare cases of Runnel, and bound tail latencies.
func caseRatios() []ratio {
	match, alone := point{"put-if-match", 64, 100}, point{"put", 1, 100}
	tail := func(name, ours string, p point) ratio {
		return ratio{name, mainPhase, ours, "ceiling", p, p, p99, 2, true}
	}
	return []ratio{
		{"put-if-match/put-mariadb", mainPhase, ourMariaDB, ourMariaDB, match, putMany, rate, 0.75, false},
		{"batch-get/get-mariadb", mainPhase, ourMariaDB, ourMariaDB, batchGet, getMany, rateOf(batchGet), 5, false},
		{"batch-get/get-embedded", mainPhase, ourEmbedded, ourEmbedded, batchGet, getMany, rateOf(batchGet), 5, false},
		tail("get-p99-mariadb/ceiling", ourMariaDB, getMany),
		tail("get-p99-embedded/ceiling", ourEmbedded, getMany),
		tail("put-p99-mariadb/ceiling", ourMariaDB, putMany),
		tail("put-p99-embedded/ceiling", ourEmbedded, putMany),
		{"put-p50-alone-mariadb/bare-upsert", mainPhase, ourMariaDB, "bare-mariadb", alone, alone, p50, 1.5, true},
	}
}

// atSize compares reads of many entries with reads of 10^5 entries: through the cache, which holds less than 10^6
// entries, and past the cache.
func atSize(kind, size string, target float64) []ratio {
	ours, other := "runnel-"+kind+"-"+size, "runnel-"+kind+"-1e5"
	return []ratio{
		{"get-" + kind + "-" + size + "/1e5", growthPhase, ours, other, getMany, getMany, rate, target, false},
		{"get-stored-" + kind + "-" + size + "/1e5", growthPhase, ours, other, getStored, getStored, rate, target, false},
	}
}

// growthRatios compare sizes, and bound memory.
func growthRatios() []ratio {
	return slices.Concat(atSize("mariadb", "1e6", 0), atSize("embedded", "1e6", 0), []ratio{
		{name: "resident-embedded-1e6-filled", phase: growthPhase, ours: "runnel-embedded-1e6", ourPoint: residentFilled, metric: mebibytes, target: 128, atMost: true},
		{name: "resident-embedded-1e6-started", phase: growthPhase, ours: "runnel-embedded-1e6", ourPoint: residentStarted, metric: mebibytes, target: 128, atMost: true},
	})
}

// replicationRatios compare with MariaDB's own replication.
func replicationRatios() []ratio {
	const woken, other = "runnel-woken", "mariadb-replication"
	limit := func(name string, m metric, target float64) ratio {
		return ratio{name: name, phase: replicationPhase, ours: woken, ourPoint: lagIdle, metric: m, target: target, atMost: true}
	}
	return []ratio{
		limit("lag-p50-idle", p50, 5),
		limit("lag-p99-idle", p99, 50),
		{"lag-p99-idle/mariadb-replication", replicationPhase, woken, other, lagIdle, lagIdle, p99, 0, true},
		{"lag-p99-busy/mariadb-replication", replicationPhase, woken, other, lagBusy, lagBusy, p99, 1, true},
		{"catch-up/mariadb-replication", replicationPhase, ourMariaDB, other, catchUp, catchUp, rateOf(catchUp), 5, false},
		{"catch-up/mariadb-replication-4-threads", replicationPhase, ourMariaDB, other + "-4-threads", catchUp, catchUp, rateOf(catchUp), 0, false},
		{"fresh/mariadb-replication", replicationPhase, ourMariaDB, other, fresh, fresh, seconds, 0, true},
		{"fresh/mariadb-dump", replicationPhase, ourMariaDB, "mariadb-dump", fresh, fresh, seconds, 0, true},
	}
}
