package report

import (
	"fmt"
	"slices"
	"strings"
)

// The points that most ratios compare.
var (
	GetMany   = Point{"get", 64, 100}
	getStored = Point{"get-stored", 64, 100}
	putMany   = Point{"put", 64, 100}
)

// The systems that are ours in the main phase.
const (
	OurMariaDB  = "runnel-mariadb"
	OurEmbedded = "runnel-embedded"
)

// batchClients is the number of clients that send batches. With 64 clients a second of work would be queued, and
// few answers would fall in a measurement.
const batchClients = 8

var batchGet = Point{"batch-get", batchClients, 100}

// QuickPoints returns the points of the main ratios.
func QuickPoints() []Point {
	return []Point{{"get", 64, 100}, {"get-stored", 64, 100}, {"put", 64, 100}, {"put-if-match", 64, 100}, batchGet, {"put", 1, 100}}
}

// FullPoints returns reads and writes with all numbers of clients and all sizes of values, and the rest with 64
// clients and small values. The whole cross product would take hours and add little.
func FullPoints() []Point {
	var points []Point
	for _, clients := range []int{1, 8, 64, 256} {
		points = append(points, Point{"get", clients, 100}, Point{"put", clients, 100})
	}
	for _, c := range []string{"get-stored", "get-session", "get-master", "put-if-match", "delete", "list"} {
		points = append(points, Point{c, 64, 100})
	}
	for _, clients := range []int{1, batchClients} {
		points = append(points, Point{"batch-get", clients, 100}, Point{"batch-put", clients, 100})
	}
	for _, size := range []int{1 << 10, 64 << 10} {
		points = append(points, Point{"get", 64, size}, Point{"put", 64, size})
	}
	return points
}

// Sizes returns the sizes of values in points, ascending.
func Sizes(points []Point) []int {
	var all []int
	for _, p := range points {
		all = append(all, p.ValueBytes)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// The lag of replicas without load, and during 1,000 writes per second of 20 clients.
var (
	LagIdle = Point{"lag", 1, 100}
	LagBusy = Point{"lag-busy", 20, 100}
)

// The rate of copied entries per second, and the seconds until a fresh replica is complete.
var (
	CatchUp = Point{"catch-up", 1, 100}
	Fresh   = Point{"fresh-replica", 1, 100}
)

// The memory of an idle server: after the filling, and after a restart.
var (
	ResidentFilled  = Point{"resident-filled", 0, 100}
	ResidentStarted = Point{"resident-started", 0, 100}
)

// GrowthPoints returns the points to measure at each size.
func GrowthPoints() []Point {
	return []Point{{"get", 64, 100}, {"get-stored", 64, 100}, {"put", 64, 100}}
}

// GrowthPartitions are the numbers of partitions that the growth phase measures.
var GrowthPartitions = []int{2, 4, 8}

// PowerOfTen formats a power of ten as 1e5, and any other number in full.
func PowerOfTen(n int) string {
	s := fmt.Sprint(n)
	if strings.Trim(s, "0") == "1" {
		return fmt.Sprintf("1e%d", len(s)-1)
	}
	return s
}

// The kinds of partitions that are measured.
const (
	OnMariaDB = "mariadb"
	Embedded  = "embedded"
)
