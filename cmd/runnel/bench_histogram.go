package main

import (
	"math/bits"
	"time"
)

// benchSubBuckets is how many buckets share a power of two: a value is known to within 1/64, 1.6 %.
const benchSubBuckets = 64

// benchOctaves is how many powers of two there are above the first benchSubBuckets nanoseconds: the last ends at 73 minutes.
const benchOctaves = 36

// A benchHistogram counts durations in buckets of constant relative width, as HDR histograms do. Recording
// allocates nothing. It is for one goroutine; merge brings several together.
type benchHistogram struct {
	counts [benchSubBuckets * (benchOctaves + 1)]uint32
	total  int64
	max    time.Duration
}

func (h *benchHistogram) record(d time.Duration) {
	h.counts[benchBucket(d)]++
	h.total++
	h.max = max(h.max, d)
}

func (h *benchHistogram) merge(other *benchHistogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.max = max(h.max, other.max)
}

// quantile returns a duration that the share q of all recorded ones does not exceed, at most one bucket too high;
// 0 when nothing was recorded.
func (h *benchHistogram) quantile(q float64) time.Duration {
	rank := max(1, int64(q*float64(h.total)+0.5))
	for i, n := range h.counts {
		if rank -= int64(n); rank <= 0 {
			return min(benchBucketEnd(i), h.max)
		}
	}
	return h.max
}

// benchBucket is the index of the bucket that holds d. Those below 2*benchSubBuckets are a nanosecond wide.
func benchBucket(d time.Duration) int {
	n := uint64(max(d, 0))
	shift := max(0, bits.Len64(n)-bits.Len64(benchSubBuckets))
	i := shift*benchSubBuckets + int(n>>shift)
	return min(i, len(benchHistogram{}.counts)-1)
}

// benchBucketEnd is the longest duration that falls into bucket i.
func benchBucketEnd(i int) time.Duration {
	if i < 2*benchSubBuckets {
		return time.Duration(i)
	}
	shift := i/benchSubBuckets - 1
	start := uint64(benchSubBuckets+i%benchSubBuckets) << shift
	return time.Duration(start + 1<<shift - 1)
}
