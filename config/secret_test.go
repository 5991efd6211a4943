package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/runnelkv/runnel/config"
)

const password = "hunter2"

// keeper has a config in an unexported field, where fmt calls no methods.
type keeper struct {
	value   config.Config
	pointer *config.Config
	url     config.URL
}

func TestNoPrintedFormHoldsAPassword(t *testing.T) {
	file := write(t, "password", password+"\n")
	c := parse(t, "[[partition]]\nname='a'\nurl='mysql://u:"+password+"@h/a?tls=true'\n"+
		"[[partition]]\nname='b'\nurl='mysql://u:${P}@h/b'\n"+
		"[[partition]]\nname='c'\nurl='mysql://u@h/c'\npassword_file='"+file+"'\n", env("P", password))
	p := c.Partitions[0]
	for _, u := range c.Partitions {
		if u.URL.Password.Reveal() != password {
			t.Fatalf("%s: password %q", u.Name, u.URL.Password.Reveal())
		}
	}
	values := []any{c, *c, p, &p, c.Partitions, p.URL, &p.URL, p.URL.Password, keeper{*c, c, p.URL}, &keeper{*c, c, p.URL}}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			checkSecret(t, fmt.Sprintf("%T as %s", v, verb), fmt.Sprintf(verb, v))
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Errorf("json of %T: %v", v, err)
		}
		checkSecret(t, fmt.Sprintf("%T as JSON", v), string(text))
		for _, logged := range logLines(v) {
			checkSecret(t, fmt.Sprintf("%T logged", v), logged)
		}
	}
	if got, want := p.URL.String(), "mysql://u:REDACTED@h:3306/a?tls=true"; got != want {
		t.Errorf("String: %s, want %s", got, want)
	}
}

func logLines(v any) []string {
	var text, object bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v)
	slog.New(slog.NewJSONHandler(&object, nil)).Info("m", "v", v)
	return []string{text.String(), object.String()}
}

func checkSecret(t *testing.T, what, text string) {
	t.Helper()
	hex := fmt.Sprintf("%x", password)
	if strings.Contains(text, password) || strings.Contains(strings.ToLower(text), hex) {
		t.Errorf("%s shows the password: %s", what, text)
	}
}

func TestNoProblemRepeatsAPassword(t *testing.T) {
	for _, url := range []string{
		"hunter2", "u:hunter2@tcp(h:1)/d", "mysql:/u:hunter2@h/d", "mysql://u:hunter2@h:x/d", "mysql://u:1/hunter2@h/d",
		"mysql://u:1?hunter2=@h/d", "mysql://u:#hunter2@h/d", "mysql://u:%zzhunter2@h/d", "mysql://u:hunter2@h h/d",
		"mysql://u:hunter2@h/", "mysql://hunter2:3306/d", "mysql://u:${hunter2@h/d", "mysql://u:${hunter2 }@h/d",
		"sqlite://u:hunter2@h/d", "sqlite:?hunter2", "mysql://${P}/d", "mysql://u@h:${P}/d", "${P}", "${P}://h/d",
		"mysql://u@h/d?tls=${P}", "mysql://u@h/d ${P}", "sqlite:${P}/", "mysql://u:p@h/d\nhunter2",
	} {
		source := fmt.Sprintf("[[partition]]\nname = 'a'\nurl = %q\n", url)
		_, err := config.Parse("f", []byte(source), env("P", password))
		if err == nil {
			t.Errorf("%s was accepted", url)
			continue
		}
		checkSecret(t, url, err.Error())
		if !strings.HasPrefix(err.Error(), "f:3: partition[0].url: ") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestNoSyntaxErrorRepeatsAPassword(t *testing.T) {
	for _, line := range []string{
		"url = mysql://u:hunter2@h/d", `url = "mysql://u:hunter2@h/d`, `url = "mysql://u:hunter2\@h/d"`,
		`url = "mysql://u:hunter2@h/d" x`, `url: "mysql://u:hunter2@h/d"`, `url = 'mysql://u:hunter2@h/d''`,
	} {
		_, err := config.Parse("f", []byte("[[partition]]\n"+line+"\n"), nil)
		if err == nil {
			t.Errorf("%s was accepted", line)
			continue
		}
		checkSecret(t, line, err.Error())
	}
}
