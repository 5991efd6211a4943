package console

import (
	"sync"
	"time"
)

const (
	chartSpan   = time.Hour
	sampleEvery = 10 * time.Second
	maxSamples  = int(chartSpan/sampleEvery) + 2
)

// sample holds the lag of the partitions at a time.
type sample struct {
	at   time.Time
	lags map[string]time.Duration // unknown lags are absent
}

// history holds the samples of the last hour.
type history struct {
	mu      sync.Mutex // guards samples
	samples []sample   // oldest first
}

// add adds a sample, and forgets the oldest ones.
func (h *history) add(at time.Time, lags map[string]time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.samples) == maxSamples {
		copy(h.samples, h.samples[1:])
		h.samples = h.samples[:maxSamples-1]
	}
	h.samples = append(h.samples, sample{at, lags})
}

// since returns the samples after a time.
func (h *history) since(begin time.Time) (samples []sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.samples {
		if s.at.After(begin) {
			samples = append(samples, s)
		}
	}
	return samples
}
