package config

import "slices"

// Quota bounds the entries whose names begin with a prefix.
type Quota struct {
	Prefix   string `toml:"prefix" json:"prefix"`       // "": all keys
	MaxKeys  int    `toml:"max_keys" json:"max_keys"`   // 0: no limit
	MaxBytes Size   `toml:"max_bytes" json:"max_bytes"` // in the values; 0: no limit
}

const (
	maxQuotas    = 64
	maxQuotaKeys = 1_000_000_000
)

func (c *checker) quotas(quotas []Quota) {
	if !c.atMost("quota", len(quotas), maxQuotas) {
		return
	}
	for i, q := range quotas {
		key := element("quota", i)
		c.count(key+".max_keys", q.MaxKeys, 0, maxQuotaKeys)
		c.size(key+".max_bytes", q.MaxBytes, 0, 1024*1024*GiB)
		if q.MaxKeys == 0 && q.MaxBytes == 0 && !c.faultyBelow(key) {
			c.rule(key, "limits nothing: max_keys or max_bytes must be set")
		}
		if c.keyPrefix(key+".prefix", q.Prefix) && slices.ContainsFunc(quotas[:i], func(other Quota) bool { return other.Prefix == q.Prefix }) {
			c.rule(key+".prefix", "has a quota already")
		}
	}
}
