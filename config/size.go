package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes.
type Size int64

// The units of a Size that limits are written in.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

var errSize = errors.New(`must be a whole number of bytes, or one with a unit, such as "16MiB" or "8MB" ` +
	`(B, KB, MB, GB are powers of 1000; KiB, MiB, GiB of 1024)`)

type unit struct {
	name string
	size Size
}

// units lists longer names before their suffixes, and larger units first.
func units() []unit {
	return []unit{
		{"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB},
		{"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3},
		{"B", 1},
	}
}

// ParseSize parses a number of bytes such as "512", "64KiB", "16 MiB" or "8MB".
func ParseSize(text string) (Size, error) {
	digits, scale := text, Size(1)
	for _, u := range units() {
		if number, ok := strings.CutSuffix(text, u.name); ok {
			digits, scale = strings.TrimSuffix(number, " "), u.size
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || Size(n) > math.MaxInt64/scale {
		return 0, errSize
	}
	return Size(n) * scale, nil
}

// String returns the shortest exact form that ParseSize accepts.
func (s Size) String() string {
	for _, u := range units() {
		if s >= u.size && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText is String, for JSON and TOML.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
