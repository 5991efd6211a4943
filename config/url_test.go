package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/runnelkv/runnel/config"
)

func TestURLIsReadIntoItsParts(t *testing.T) {
	tests := map[string]config.URL{
		"mysql://u:p@h/d":                                    {Scheme: config.MySQL, User: "u", Password: config.NewSecret("p"), Host: "h", Port: 3306, Database: "d"},
		"mysql://u:p%40%2F%3A@h:3307/d?tls=true":             {Scheme: config.MySQL, User: "u", Password: config.NewSecret("p@/:"), Host: "h", Port: 3307, Database: "d", Params: map[string]string{"tls": "true"}},
		"mysql://u:p@unix(/run/x.sock)/d?tls=true&ca=/c.pem": {Scheme: config.MySQL, User: "u", Password: config.NewSecret("p"), Host: "/run/x.sock", Database: "d", Params: map[string]string{"tls": "true", "ca": "/c.pem"}},
		"mysql://u@[::1]:1/d":                                {Scheme: config.MySQL, User: "u", Host: "::1", Port: 1, Database: "d"},
		"mysql://u:@h/d":                                     {Scheme: config.MySQL, User: "u", Host: "h", Port: 3306, Database: "d"},
		"mysql://u:a@b@h/d":                                  {Scheme: config.MySQL, User: "u", Password: config.NewSecret("a@b"), Host: "h", Port: 3306, Database: "d"},
		"sqlite:data/p.db":                                   {Scheme: config.SQLite, Path: "data/p.db"},
		"sqlite:/data/p 1%.db":                               {Scheme: config.SQLite, Path: "/data/p 1%.db"},
		"sqlite:///data/p.db":                                {Scheme: config.SQLite, Path: "/data/p.db"},
	}
	for text, want := range tests {
		got, err := config.ParseURL(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

func TestVariablesAreLiteralInUserAndPasswordOnly(t *testing.T) {
	const awkward = `p@s/s:w#o?r%d+ &${X}`
	lookup := env("PASSWORD", awkward, "USER", "a:b", "HOST", "[::1]:3307", "DB", "d?tls=false", "WHOLE", "mysql://u:x%40@h/d")
	c := parse(t, "[[partition]]\nname='a'\nurl='mysql://${USER}:-${PASSWORD}-@${HOST}/${DB}'\n"+
		"[[partition]]\nname='b'\nurl='${WHOLE}'\n"+
		"[[partition]]\nname='c'\nurl='mysql://u:$${PASSWORD}$$@h/e'\n"+
		"[[partition]]\nname='d'\nurl='sqlite:$${PASSWORD}/${HOST}$.db'\n", lookup)
	want := []config.URL{
		{Scheme: config.MySQL, User: "a:b", Password: config.NewSecret("-" + awkward + "-"), Host: "::1", Port: 3307, Database: "d", Params: map[string]string{"tls": "false"}},
		{Scheme: config.MySQL, User: "u", Password: config.NewSecret("x@"), Host: "h", Port: 3306, Database: "d"},
		{Scheme: config.MySQL, User: "u", Password: config.NewSecret("${PASSWORD}$$"), Host: "h", Port: 3306, Database: "e"},
		{Scheme: config.SQLite, Path: "${PASSWORD}/[::1]:3307$.db"},
	}
	for i, p := range c.Partitions {
		if diff := cmp.Diff(want[i], p.URL); diff != "" {
			t.Errorf("%s (-want +got):\n%s", p.Name, diff)
		}
	}
}

func TestSizesKeepTheirUnits(t *testing.T) {
	for text, want := range map[string]config.Size{
		"0": 0, "512": 512, "512B": 512, "64KiB": 64 << 10, "16 MiB": 16 << 20, "1GiB": 1 << 30, "3KB": 3000, "8MB": 8e6, "2GB": 2e9,
	} {
		got, err := config.ParseSize(text)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", text, got, err, want)
		}
		if again, err := config.ParseSize(got.String()); err != nil || again != want {
			t.Errorf("%q prints as %q, which reads as %d, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "+1", "1.5MiB", "1TiB", "1mib", "1  MiB", "1_000", "9223372036854775808", "8589934592GiB", " 1"} {
		if got, err := config.ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", text, got)
		}
	}
}
