package config

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// decoder fills a Config from parsed TOML. Unlike the library's decoding into a struct, the decoder does not stop at
// the first problem, and does not accept "Listen" for "listen".
type decoder struct {
	*report
	env Lookup
}

// table fills the struct dst from the table at path.
func (d *decoder) table(path string, table map[string]any, dst reflect.Value) {
	names := namesOf(dst.Type())
	for _, name := range d.inOrder(path, table) {
		key, i := join(path, name), slices.Index(names, name)
		if i < 0 {
			d.addf(key, "unknown key; known here: %s", strings.Join(names, ", "))
			continue
		}
		d.value(key, table[name], dst.Field(i))
	}
}

// inOrder returns the names in a table by line.
func (d *decoder) inOrder(path string, table map[string]any) []string {
	return slices.SortedFunc(maps.Keys(table), func(a, b string) int {
		return cmp.Or(cmp.Compare(d.lines.of(join(path, a)), d.lines.of(join(path, b))), cmp.Compare(a, b))
	})
}

func (d *decoder) value(key string, value any, field reflect.Value) {
	switch dst := field.Addr().Interface().(type) {
	case *Size:
		d.size(key, value, dst)
	case *int:
		d.integer(key, value, dst)
	case *bool:
		var ok bool
		if *dst, ok = value.(bool); !ok {
			d.wrongType(key, value, "true or false")
		}
	case *time.Duration:
		d.duration(key, value, dst)
	case *slog.Level:
		d.level(key, value, dst)
	case *URL:
		d.url(key, value, dst)
	case *[]string:
		d.stringList(key, value, dst)
	case *[]Partition:
		decodeTables(d, key, value, dst, basePartition())
	case *[]Webhook:
		decodeTables(d, key, value, dst, Webhook{})
	case *[]Certificate:
		decodeTables(d, key, value, dst, Certificate{})
	case *[]Quota:
		decodeTables(d, key, value, dst, Quota{})
	case *[]Key:
		decodeTables(d, key, value, dst, Key{})
	case *[]PrefixAccess:
		decodeTables(d, key, value, dst, PrefixAccess{})
	case *Grants:
		d.grants(key, value, dst)
	case *time.Time:
		d.time(key, value, dst)
	case *Secret:
		if text, ok := d.text(key, value, "a string"); ok {
			*dst = NewSecret(text)
		}
	default:
		d.other(key, value, field)
	}
}

// other decodes a string of any named type, or a section.
func (d *decoder) other(key string, value any, field reflect.Value) {
	switch field.Kind() {
	case reflect.String:
		if text, ok := d.text(key, value, "a string"); ok {
			field.SetString(text)
		}
	case reflect.Struct:
		if table, ok := value.(map[string]any); ok {
			d.table(key, table, field)
			return
		}
		d.wrongType(key, value, "a table")
	default:
		panic("config: no way to decode " + key + " into " + field.Type().String())
	}
}

// decodeTables fills a list from the tables [[key]]. Each element starts as base.
func decodeTables[T any](d *decoder, key string, value any, dst *[]T, base T) {
	tables, ok := tablesOf(value)
	if !ok {
		d.wrongType(key, value, "an array of tables"+tablesHint(key))
		return
	}
	*dst = make([]T, len(tables))
	for i, item := range tables {
		(*dst)[i] = base
		if table, ok := item.(map[string]any); ok {
			d.table(element(key, i), table, reflect.ValueOf(dst).Elem().Index(i))
			continue
		}
		d.wrongType(element(key, i), item, "a table")
	}
}

// tablesHint says how to write a section that is an array of tables.
func tablesHint(key string) string {
	if strings.Contains(key, ".") {
		return ""
	}
	return ": write [[" + key + "]]"
}

// tablesOf accepts both forms that the library returns: for [[name]] and for name = [{…}].
func tablesOf(value any) ([]any, bool) {
	if items, ok := value.([]any); ok {
		return items, true
	}
	tables, ok := value.([]map[string]any)
	items := make([]any, len(tables))
	for i := range tables {
		items[i] = tables[i]
	}
	return items, ok
}

func (d *decoder) stringList(key string, value any, dst *[]string) {
	items, ok := value.([]any)
	if !ok {
		d.wrongType(key, value, "a list of strings")
		return
	}
	*dst = []string{}
	for i, item := range items {
		text, _ := d.text(element(key, i), item, "a string")
		*dst = append(*dst, text) // a faulty string too, so that the indexes stay right
	}
}

func (d *decoder) size(key string, value any, dst *Size) {
	if n, ok := value.(int64); ok {
		*dst = Size(n)
		return
	}
	text, ok := d.text(key, value, `a size, such as "16MiB" or 4096`)
	if !ok {
		return
	}
	size, err := ParseSize(text)
	if err != nil {
		d.addf(key, "%v", err)
		return
	}
	*dst = size
}

func (d *decoder) integer(key string, value any, dst *int) {
	n, ok := value.(int64)
	switch {
	case !ok:
		d.wrongType(key, value, "an integer")
	case int64(int(n)) != n:
		d.addf(key, "is out of range")
	default:
		*dst = int(n)
	}
}

func (d *decoder) duration(key string, value any, dst *time.Duration) {
	const want = `a duration with its unit in quotes, such as "500ms", "30s" or "1m30s"`
	text, ok := d.text(key, value, want)
	if !ok {
		return
	}
	duration, err := time.ParseDuration(text)
	if err != nil {
		d.addf(key, "must be %s", want)
		return
	}
	*dst = duration
}

// time decodes a date and time with its offset from UTC. Without an offset the time would depend on the machine.
func (d *decoder) time(key string, value any, dst *time.Time) {
	const want = "a date and time with its offset from UTC, such as 2027-12-31T18:00:00Z"
	t, ok := value.(time.Time)
	switch {
	case !ok:
		d.wrongType(key, value, want)
	case strings.HasSuffix(t.Location().String(), "-local"): // as the library marks times without an offset
		d.addf(key, "must be %s", want)
	default:
		*dst = t.UTC()
	}
}

// grants decodes a table of grants, or "none".
func (d *decoder) grants(key string, value any, dst *Grants) {
	if table, ok := value.(map[string]any); ok {
		d.table(key, table, reflect.ValueOf(dst).Elem())
		return
	}
	if value != "none" {
		d.wrongType(key, value, `"none", or a table with roles, rights and prefixes`)
	}
}

func (d *decoder) level(key string, value any, dst *slog.Level) {
	text, ok := d.text(key, value, "a string")
	if !ok {
		return
	}
	for _, level := range levels() {
		if strings.EqualFold(text, level.String()) {
			*dst = level
			return
		}
	}
	d.addf(key, `must be "debug", "info", "warn" or "error"`)
}

func levels() []slog.Level {
	return []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}
}

func (d *decoder) url(key string, value any, dst *URL) {
	text, ok := value.(string)
	if !ok {
		d.wrongType(key, value, "a string")
		return
	}
	text, faults := expandURL(text, d.env)
	if d.addAll(key, faults) {
		return
	}
	u, err := ParseURL(text)
	if err != nil {
		d.addf(key, "%v", err)
		return
	}
	*dst = d.withTestDatabase(u)
}

const testPrefix = "test_"

// withTestDatabase moves a MySQL url to a database for tests when RUNNEL_ENV=test, so that no test touches production data.
func (d *decoder) withTestDatabase(u URL) URL {
	mode, _ := d.env.find("RUNNEL_ENV")
	if mode == "test" && u.Scheme == MySQL && u.Database != "" && !strings.HasPrefix(u.Database, testPrefix) {
		u.Database = testPrefix + u.Database
	}
	return u
}

// text returns a string with every ${ENV} expanded, or reports the faults.
func (d *decoder) text(key string, value any, want string) (string, bool) {
	raw, ok := value.(string)
	if !ok {
		d.wrongType(key, value, want)
		return "", false
	}
	text, faults := expand(raw, d.env, verbatim)
	return text, !d.addAll(key, faults)
}

func (d *decoder) addAll(key string, faults []string) bool {
	for _, fault := range faults {
		d.addf(key, "%s", fault)
	}
	return len(faults) > 0
}

func (d *decoder) wrongType(key string, value any, want string) {
	d.addf(key, "must be %s, not %s", want, typeName(value))
}

func typeName(value any) string {
	switch value.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case bool:
		return "a boolean"
	case time.Time:
		return "a date or time"
	case map[string]any:
		return "a table"
	case []any, []map[string]any:
		return "an array"
	}
	return fmt.Sprintf("%T", value)
}

// namesOf returns the TOML names of a struct type's fields, in order.
func namesOf(t reflect.Type) []string {
	names := make([]string, t.NumField())
	for i := range names {
		names[i], _, _ = strings.Cut(t.Field(i).Tag.Get("toml"), ",")
	}
	return names
}
