package load

import (
	"math/bits"
	"time"
)

// subBuckets is the number of buckets for each power of two. A duration is accurate to 1/64, or 1.6 %.
const subBuckets = 64

// octaves is the number of powers of two above subBuckets nanoseconds. The last bucket ends at 73 minutes.
const octaves = 36

// histogram counts durations in buckets of constant relative width, as HDR histograms do. Recording allocates nothing. A
// histogram belongs to a single goroutine; merge adds the histograms of several.
type histogram struct {
	counts [subBuckets * (octaves + 1)]uint32
	total  int64
	max    time.Duration
}

func (h *histogram) addDuration(d time.Duration) {
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

// quantile returns the duration that a share q of the recorded durations does not exceed, at most one bucket too high.
// An empty histogram returns 0.
func (h *histogram) quantile(q float64) time.Duration {
	rank := max(1, int64(q*float64(h.total)+0.5))
	for i, n := range h.counts {
		if rank -= int64(n); rank <= 0 {
			return min(bucketEnd(i), h.max)
		}
	}
	return h.max
}

// bucket returns the index of the bucket of d. The first 2*subBuckets buckets are a nanosecond wide.
func bucket(d time.Duration) int {
	n := uint64(max(d, 0))
	shift := max(0, bits.Len64(n)-bits.Len64(subBuckets))
	i := shift*subBuckets + int(n>>shift)
	return min(i, len(histogram{}.counts)-1)
}

// bucketEnd returns the longest duration in bucket i.
func bucketEnd(i int) time.Duration {
	if i < 2*subBuckets {
		return time.Duration(i)
	}
	shift := i/subBuckets - 1
	start := uint64(subBuckets+i%subBuckets) << shift
	return time.Duration(start + 1<<shift - 1)
}
