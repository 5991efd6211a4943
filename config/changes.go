package config

import (
	"fmt"
	"reflect"
	"slices"
)

// Difference describes how a re-read file differs from the running configuration.
type Difference struct {
	Added   []Partition // new partitions, in the order of the file, which can join a running process
	Restart []string    // changed keys that require a restart, such as "http.listen"; never their values
	Quotas  bool        // the quotas differ, which take effect in a running process
	Access  bool        // the API keys or auth.anonymous differ, which take effect in a running process
}

// Changes compares a running configuration with a re-read configuration. Partitions are matched by name, and their
// keys named as in "partition partition-1: url" and "partition partition-1: removed".
func Changes(old, new *Config) Difference {
	var d Difference
	before, after := reflect.ValueOf(*old), reflect.ValueOf(*new)
	for i, section := range namesOf(before.Type()) {
		if before.Field(i).Kind() == reflect.Struct {
			for _, name := range changedFields(before.Field(i), after.Field(i)) {
				d.addChanged(join(section, name))
			}
		}
	}
	d.comparePartitions(old.Partitions, new.Partitions)
	d.Access = d.Access || !slices.EqualFunc(old.Keys, new.Keys, func(a, b Key) bool { return reflect.DeepEqual(a, b) })
	if !slices.EqualFunc(old.Webhooks, new.Webhooks, equalWebhooks) {
		d.Restart = append(d.Restart, "webhook")
	}
	d.Quotas = !slices.Equal(old.Quotas, new.Quotas)
	if !slices.Equal(old.Certificates, new.Certificates) {
		d.Restart = append(d.Restart, "certificate")
	}
	return d
}

// equalWebhooks reports whether two sections are equal, apart from a secret that requests take from its file.
func equalWebhooks(a, b Webhook) bool {
	if a.SecretFile != "" && a.SecretFile == b.SecretFile {
		a.Secret = b.Secret
	}
	return reflect.DeepEqual(a, b)
}

func (d *Difference) addChanged(key string) {
	if key == "auth.anonymous" {
		d.Access = true
		return
	}
	d.Restart = append(d.Restart, key)
}

func (d *Difference) comparePartitions(old, new []Partition) {
	for _, p := range new {
		i := find(old, p.Name)
		if i < 0 {
			d.Added = append(d.Added, p)
			continue
		}
		before := old[i]
		if p.PasswordFile != "" {
			before.URL.Password = p.URL.Password // new connections read the file
		}
		for _, name := range changedFields(reflect.ValueOf(before), reflect.ValueOf(p)) {
			d.Restart = append(d.Restart, fmt.Sprintf("partition %s: %s", p.Name, name))
		}
	}
	for _, p := range old {
		if find(new, p.Name) < 0 {
			d.Restart = append(d.Restart, fmt.Sprintf("partition %s: removed", p.Name))
		}
	}
}

func find(partitions []Partition, name string) int {
	return slices.IndexFunc(partitions, func(p Partition) bool { return p.Name == name })
}

// changedFields returns the TOML names of the fields that differ.
func changedFields(old, new reflect.Value) (names []string) {
	for i, name := range namesOf(old.Type()) {
		if !reflect.DeepEqual(old.Field(i).Interface(), new.Field(i).Interface()) {
			names = append(names, name)
		}
	}
	return names
}
