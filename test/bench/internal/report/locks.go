package report

// What a Runnel of the locks phase holds beside its keys.
const (
	NoLocks   = "no-locks"
	ManyLocks = "1e4-locks" // that protect nothing
	OneGuard  = "guarded"   // a lock that protects a key, on the same master
)

// EtcdLocks is etcd in the locks phase.
const EtcdLocks = "locks-etcd"

// LockPut names a Runnel of the locks phase that is written to.
func LockPut(kind, held string) string { return "runnel-" + kind + "-" + held }

// Lockers names the Runnels of a kind whose locks are acquired and released: three partitions, of which two must hold a lock, and
// a single partition, which is as durable as the etcd of the bench.
func Lockers(kind string) (three, alone string) { return "locks-" + kind, "locks-" + kind + "-alone" }

// LockMany is the acquisition and release of a lock.
var LockMany = Point{"lock", 64, 100}

// LockPutPoints returns the points of writes beside locks.
func LockPutPoints() []Point { return []Point{putMany} }

// lockSystems is the order of the tables.
func lockSystems() (puts, locks []string) {
	for _, kind := range []string{OnMariaDB, Embedded} {
		three, alone := Lockers(kind)
		puts = append(puts, LockPut(kind, NoLocks), LockPut(kind, ManyLocks), LockPut(kind, OneGuard))
		locks = append(locks, three, alone)
	}
	return puts, append(locks, EtcdLocks)
}

// lockRatios compare writes beside locks with writes without locks, and locks with those of etcd.
func lockRatios() []ratio {
	var all []ratio
	between := func(name, ours, other string, p Point, target float64) {
		all = append(all, ratio{name: name, phase: LocksPhase, ours: ours, other: other, ourPoint: p, otherPoint: p, metric: rateOf(p), target: target})
	}
	for _, kind := range []string{OnMariaDB, Embedded} {
		none := LockPut(kind, NoLocks)
		three, alone := Lockers(kind)
		between("put-1e4-locks/no-locks-"+kind, LockPut(kind, ManyLocks), none, putMany, 0.98)
		between("put-guarded/no-locks-"+kind, LockPut(kind, OneGuard), none, putMany, 0.75)
		between("lock-"+kind+"/etcd", three, EtcdLocks, LockMany, 0)
		between("lock-"+kind+"-alone/etcd", alone, EtcdLocks, LockMany, 0)
	}
	return all
}
