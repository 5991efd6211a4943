package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// startRedis starts redis-server, which syncs every write before the answer, and webdis. Rewriting of the
// append-only file is off: with large values, rewriting would block writes for seconds and compete for the disk.
func (s *Testbed) startRedis(ctx context.Context) (*System, error) {
	for _, program := range []string{"redis-server", "webdis"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, err
		}
	}
	redis, err := freeAddress()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(s.Dir, "redis")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	store, err := s.start("redis", exec.Command("redis-server", "--bind", "127.0.0.1", "--port", PortOf(redis), "--dir", dir,
		"--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0", "--save", "", "--daemonize", "no"))
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(s.Dir, "webdis.json")
	if err := os.WriteFile(file, webdisConfig(PortOf(redis), PortOf(address)), 0o600); err != nil {
		return nil, err
	}
	gateway, err := s.start("webdis", exec.Command("webdis", file))
	if err != nil {
		return nil, err
	}
	return &System{Address: address, Processes: []*Process{store, gateway}, Templates: WebdisTemplates},
		gateway.await(ctx, answers(http.DefaultClient, "http://"+address+"/PING"))
}

// webdisConfig is the package's configuration with a thread for each processor and without a log.
func webdisConfig(redis, port string) []byte {
	redisPort, _ := strconv.Atoi(redis)
	httpPort, _ := strconv.Atoi(port)
	text, err := json.Marshal(map[string]any{
		"redis_host": "127.0.0.1", "redis_port": redisPort, "http_host": "127.0.0.1", "http_port": httpPort,
		"threads": 2, "daemonize": false, "database": 0, "verbosity": 0, "logfile": os.DevNull,
	})
	if err != nil {
		panic(err) // all fields are numbers and strings
	}
	return text
}

// startEtcd starts a cluster of a single member.
func (s *Testbed) startEtcd(ctx context.Context) (*System, error) {
	if _, err := exec.LookPath("etcd"); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	peer, err := freeAddress()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("etcd", "--data-dir", filepath.Join(s.Dir, "etcd"), "--name", "bench",
		"--listen-client-urls", "http://"+address, "--advertise-client-urls", "http://"+address,
		"--listen-peer-urls", "http://"+peer, "--initial-advertise-peer-urls", "http://"+peer, "--initial-cluster", "bench=http://"+peer,
		"--quota-backend-bytes", strconv.Itoa(8<<30), "--log-level", "error")
	cmd.Env = append([]string{fmt.Sprintf("GOGC=%d", GCPercent)}, os.Environ()...) // the environment's GOGC overrides
	p, err := s.start("etcd", cmd)
	if err != nil {
		return nil, err
	}
	return &System{Address: address, Processes: []*Process{p}, Templates: EtcdTemplates}, p.await(ctx, answers(http.DefaultClient, "http://"+address+"/health"))
}
