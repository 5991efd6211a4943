package https

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/runnelkv/runnel/test/certs"
	"github.com/runnelkv/runnel/test/runnel"
)

// prometheus is the part of a configuration of Prometheus that docs/operations.md shows.
type prometheus struct {
	Jobs []struct {
		Name          string `yaml:"job_name"`
		Scheme        string
		Path          string `yaml:"metrics_path"`
		Authorization struct {
			File string `yaml:"credentials_file"`
		}
		TLS struct {
			CA string `yaml:"ca_file"`
		} `yaml:"tls_config"`
		Static []struct{ Targets []string } `yaml:"static_configs"`
	} `yaml:"scrape_configs"`
}

// TestPrometheusExampleGetsTheMetrics makes the key and the request of the example in docs/operations.md, with the files
// and the address of the test.
func TestPrometheusExampleGetsTheMetrics(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	example := regexp.MustCompile("(?ms)^    \\(umask 077; runnel (key create .*) --toml (\\S+) > (\\S+)\\)$.*^```yaml\n(.*?)^```$").FindStringSubmatch(string(page))
	if example == nil {
		t.Fatal("the page has no command and no example")
	}
	decoder := yaml.NewDecoder(strings.NewReader(example[4]))
	decoder.KnownFields(true)
	var p prometheus
	if err := decoder.Decode(&p); err != nil || len(p.Jobs) != 1 {
		t.Fatalf("%v\n%s", err, example[4])
	}
	job := p.Jobs[0]
	if job.Name == "" || job.Authorization.File != example[3] || job.TLS.CA == "" || len(job.Static) != 1 || len(job.Static[0].Targets) == 0 {
		t.Errorf("the example does not fit the command: %+v", job)
	}

	ca := certs.NewAuthority(t)
	pair := ca.Issue(t, certs.Names{})
	file := runnel.WriteConfig(t, fmt.Sprintf("[http.tls]\ncert = %q\nkey = %q\n", pair.Cert, pair.Key), runnel.ThreeFiles(t)...)
	key, err := runnel.Run(t, append(strings.Fields(example[1]), "--toml", file)...)
	if err != nil {
		t.Fatal(err)
	}
	node := runnel.ServeUnready(t, "--config", file)
	c := client(t, ca.Pool, certs.Pair{}, true) // ca_file
	ask := func(key string) (status int, body []byte) {
		request, err := http.NewRequest("GET", job.Scheme+"://"+strings.TrimPrefix(node.URL, "http://")+job.Path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(key)) // as Prometheus does with credentials_file
		answer, err := c.Do(request)
		if err != nil {
			return 0, []byte(err.Error())
		}
		defer answer.Body.Close()
		body, _ = io.ReadAll(answer.Body)
		return answer.StatusCode, body
	}
	runnel.Eventually(t, time.Minute, "the metrics", func() error {
		if status, body := ask(key); status != http.StatusOK || !strings.Contains(string(body), "\nrunnel_epoch ") {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	if status, _ := ask("x" + key); status != http.StatusUnauthorized {
		t.Errorf("with a false key: %d", status)
	}
}
