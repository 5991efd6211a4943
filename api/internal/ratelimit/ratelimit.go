package ratelimit

import (
	"math"
	"net/netip"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"
)

// maxNames bounds the buckets of a limiter, at about 200 bytes each.
const maxNames = 16384

// Limiter bounds the events of each name. A nil Limiter allows everything. A Limiter is safe for concurrent use.
type Limiter struct {
	buckets *otter.Cache[string, *rate.Limiter]
	rate    rate.Limit
	burst   int
	refill  time.Duration // fills an empty bucket
}

// New returns a limiter that allows each name perSecond events, and up to burst (at least 1) events at once; nil if
// perSecond is 0.
func New(perSecond float64, burst int) *Limiter {
	if perSecond <= 0 {
		return nil
	}
	refill := time.Duration(min(float64(burst)/perSecond*float64(time.Second), math.MaxInt64/2))
	return &Limiter{
		buckets: otter.Must(&otter.Options[string, *rate.Limiter]{
			MaximumSize:      maxNames,
			ExpiryCalculator: otter.ExpiryAccessing[string, *rate.Limiter](refill), // a full bucket is as good as none
		}),
		rate: rate.Limit(perSecond), burst: max(burst, 1), refill: refill,
	}
}

// Allow counts an event of name. If the event exceeds the limit, Allow reports how long the name has to wait for the
// next event, and does not count the event.
func (l *Limiter) Allow(name string, now time.Time) (retry time.Duration, ok bool) {
	if l == nil {
		return 0, true
	}
	bucket := l.bucket(name)
	if bucket.AllowN(now, 1) {
		return 0, true
	}
	return l.wait(bucket, now), false
}

func (l *Limiter) bucket(name string) *rate.Limiter {
	if bucket, known := l.buckets.GetIfPresent(name); known {
		return bucket
	}
	bucket, _ := l.buckets.SetIfAbsent(name, rate.NewLimiter(l.rate, l.burst))
	return bucket
}

func (l *Limiter) wait(bucket *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - bucket.TokensAt(now)
	return min(l.refill, time.Duration(missing/float64(l.rate)*float64(time.Second)))
}

// NameOf returns the name under which an address is limited: the address itself for IPv4, and the network of 64 bits for
// IPv6, as a single client may have all addresses of such a network.
func NameOf(address netip.Addr) string {
	address = address.Unmap()
	if address.Is4() {
		return address.String()
	}
	network, err := address.Prefix(64)
	if err != nil {
		return address.String()
	}
	return network.String()
}
