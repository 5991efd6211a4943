package load

import (
	"math/bits"
	"time"
)

// subBuckets is how many buckets share a power of two: a value is known to within 1/64, 1.6 %.
const subBuckets = 64

// octaves is how many powers of two there are above the first subBuckets nanoseconds: the last ends at 73 minutes.
const octaves = 36

// A histogram counts durations in buckets of constant relative width, as HDR histograms do. Recording
// allocates nothing. It is for one goroutine; merge brings several together.
type histogram struct {
	counts [subBuckets * (octaves + 1)]uint32
	total  int64
	max    time.Duration
}

func (h *histogram) record(d time.Duration) {
	h.counts[bucket(d)]++
	h.total++
	h.max = max(h.max, d)
}

func (h *histogram) merge(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.max = max(h.max, other.max)
}

// quantile returns a duration that the share q of all recorded ones does not exceed, at most one bucket too high;
// 0 when nothing was recorded.
func (h *histogram) quantile(q float64) time.Duration {
	rank := max(1, int64(q*float64(h.total)+0.5))
	for i, n := range h.counts {
		if rank -= int64(n); rank <= 0 {
			return min(bucketEnd(i), h.max)
		}
	}
	return h.max
}

// bucket is the index of the bucket that holds d. Those below 2*subBuckets are a nanosecond wide.
func bucket(d time.Duration) int {
	n := uint64(max(d, 0))
	shift := max(0, bits.Len64(n)-bits.Len64(subBuckets))
	i := shift*subBuckets + int(n>>shift)
	return min(i, len(histogram{}.counts)-1)
}

// bucketEnd is the longest duration that falls into bucket i.
func bucketEnd(i int) time.Duration {
	if i < 2*subBuckets {
		return time.Duration(i)
	}
	shift := i/subBuckets - 1
	start := uint64(subBuckets+i%subBuckets) << shift
	return time.Duration(start + 1<<shift - 1)
}
