package config_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/config"
)

// TestReadingIsBounded parses sources that would take quadratic time without bounds.
func TestReadingIsBounded(t *testing.T) {
	sections := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "[[partition]]\nname='p%d'\nurl='sqlite:%d.db'\n", i, i)
		}
		return b.String()
	}
	inline := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "{name='p%d',url='sqlite:%d.db'},", i, i)
		}
		return "partition = [" + b.String() + "]\n"
	}
	const depth = 100_000
	for name, test := range map[string]struct{ source, want string }{
		"arrays":         {"x = " + strings.Repeat("[", depth) + strings.Repeat("]", depth), "f:1: is nested too deep"},
		"arrays, open":   {"x = " + strings.Repeat("[", depth), "f:1: is nested too deep"},
		"inline tables":  {"x = " + strings.Repeat("{a = ", depth) + "1" + strings.Repeat("}", depth), "f:1: is nested too deep"},
		"dotted key":     {"\na" + strings.Repeat(".a", depth) + " = 1", "f:2: is nested too deep"},
		"dotted section": {"[a" + strings.Repeat(".a", depth) + "]", "f:1: is nested too deep"},
		"elements":       {"x = [" + strings.Repeat("1,", depth) + "]", "f:1: has more than 10000 keys"},
		"sections":       {sections(20_000), "has more than 10000 keys"},
		"partitions":     {sections(2000), "f:1: partition: there are 2000, over the limit of 256"},
		"inline":         {inline(2000), "f:1: partition: there are 2000, over the limit of 256"},
		"masters":        {"[store]\nmasters = [" + strings.Repeat("'a',", 9_000) + "]\n" + sections(100), `store.masters[8999]: names "a" twice`},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := time.Now()
			_, err := config.Parse("f", []byte(test.source), nil)
			took := time.Since(began)
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%.300v", err)
			}
			if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; mib > 200 || took > 20*time.Second {
				t.Errorf("%v and %d MiB", took, mib)
			}
		})
	}
}

func TestSyntaxErrorsRepeatNoSecret(t *testing.T) {
	for _, value := range []string{
		`hunter2`, `hunter2secret`, `1hunter2`, `true-hunter2`, `12345678901234567890123`, `1e99999hunter2`, `1979-13-45`, `1979-05-27T99:99:99`,
		`0xhunter2`, `+hunter2`, `1.hunter2`, `12_hunter_2`, `"hunter2`, `"hunter2\q"`, `"hunter2"hunter2`, `"\uhunter2"`, `[hunter2]`, `{a = hunter2}`, `'hunter2''`,
		`infhunter2`, `nanhunter2`, `1_2__3`, `0123456`, `99999999999999999999`, `1.7e999`,
	} {
		_, err := config.Parse("f", []byte("[[webhook]]\nsecret = "+value+"\n"), nil)
		if err == nil {
			t.Errorf("%s: accepted", value)
			continue
		}
		if !strings.HasPrefix(err.Error(), "f:2: webhook") {
			t.Errorf("%s: %v", value, err)
		}
		for word := range strings.FieldsFuncSeq(value, func(r rune) bool { return strings.ContainsRune(`"'[]{}= \`, r) }) {
			for part := word; len(part) > 2; part = part[:len(part)-1] {
				if strings.Contains(err.Error(), part) {
					t.Errorf("%s: repeated in %v", value, err)
					break
				}
			}
		}
	}
}
