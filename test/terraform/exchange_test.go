package terraform

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/runnelkv/runnel/test/runnel"
)

// tool sends the requests that Terraform and OpenTofu send, and accepts the statuses that they accept.
type tool struct {
	t       *testing.T
	address string
	key     string
	lockID  string
}

// lockInfo is a lock as the tools encode and decode it.
type lockInfo struct {
	ID, Operation, Info, Who, Version string
	Created                           time.Time
	Path                              string
}

// errStatus is an answer that the tools do not accept.
type errStatus int

func (e errStatus) Error() string { return fmt.Sprint("HTTP error: ", int(e)) }

// send sends a request with Basic credentials, and with Content-Type and Content-MD5 if there is a body.
func (c *tool) send(method, target string, body []byte) (status int, answer []byte) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, target, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.SetBasicAuth("runnel", c.key)
	if len(body) > 0 {
		sum := md5.Sum(body)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Content-MD5", base64.StdEncoding.EncodeToString(sum[:]))
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(resp.Body); err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, answer
}

// lock locks the state. held describes the holder if another tool has locked the state.
func (c *tool) lock(id string) (held *lockInfo, err error) {
	c.t.Helper()
	info, err := json.Marshal(lockInfo{ID: id, Operation: "OperationTypeApply", Who: "ann@host", Version: "1.10.10", Created: time.Now().UTC()})
	if err != nil {
		c.t.Fatal(err)
	}
	switch status, answer := c.send("LOCK", c.address, info); status {
	case http.StatusOK:
		c.lockID = id
		return nil, nil
	case http.StatusLocked, http.StatusConflict:
		held = &lockInfo{}
		if err := json.Unmarshal(answer, held); err != nil {
			c.t.Errorf("a tool cannot read the lock in the answer %s: %v", answer, err)
		}
		return held, errStatus(status)
	default:
		return nil, errStatus(status)
	}
}

func (c *tool) mustLock(id string) {
	c.t.Helper()
	if held, err := c.lock(id); err != nil {
		c.t.Fatalf("lock %s: %v, held by %+v", id, err, held)
	}
}

// unlock sends all members if the tool holds the lock, and the ID alone for force-unlock.
func (c *tool) unlock(id string) error {
	c.t.Helper()
	body, err := json.Marshal(lockInfo{ID: id})
	if err != nil {
		c.t.Fatal(err)
	}
	c.lockID = ""
	if status, _ := c.send("UNLOCK", c.address, body); status != http.StatusOK {
		return errStatus(status)
	}
	return nil
}

func (c *tool) mustUnlock(id string) {
	c.t.Helper()
	if err := c.unlock(id); err != nil {
		c.t.Fatalf("unlock %s: %v", id, err)
	}
}

// get reads the state; nil without a state.
func (c *tool) get() []byte {
	c.t.Helper()
	status, answer := c.send("GET", c.address, nil)
	switch status {
	case http.StatusOK:
		return answer
	case http.StatusNoContent, http.StatusNotFound:
		return nil
	}
	c.t.Fatalf("get state: %d %s", status, answer)
	return nil
}

// put stores the state, with the id of the lock that the tool holds.
func (c *tool) put(state []byte) error {
	c.t.Helper()
	target := c.address
	if c.lockID != "" {
		target += "?ID=" + url.QueryEscape(c.lockID)
	}
	switch status, _ := c.send("POST", target, state); status {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
		return nil
	default:
		return errStatus(status)
	}
}

// stateOf returns a state with a resource of about fill bytes.
func stateOf(serial int, lineage string, fill int) []byte {
	return fmt.Appendf(nil, `{"version":4,"terraform_version":"1.10.10","serial":%d,"lineage":%q,"outputs":{},"resources":[{"mode":"managed","type":"terraform_data","name":"a","instances":[{"attributes":{"input":%q}}]}]}`,
		serial, lineage, strings.Repeat("x", fill))
}

// TestExchangeOfTheTools: init, plan and apply; a second apply that is refused while the first holds the lock; force-unlock; two
// workspaces; and a state of 5 MB.
func TestExchangeOfTheTools(t *testing.T) {
	s := newServer(t)
	ann := &tool{t: t, address: s.url + "/v1/terraform/prod/network", key: s.prod}
	bob := &tool{t: t, address: ann.address, key: s.prod}
	if ann.get() != nil { // init
		t.Fatal("there is a state already")
	}
	ann.mustLock("plan-1") // plan
	if ann.get() != nil {
		t.Fatal("there is a state already")
	}
	ann.mustUnlock("plan-1")
	ann.mustLock("apply-1") // apply, which stores the state in two steps
	for serial := 1; serial <= 2; serial++ {
		if err := ann.put(stateOf(serial, "l", 10)); err != nil {
			t.Fatalf("serial %d: %v", serial, err)
		}
	}
	checkSecondApply(t, ann, bob)
	checkWorkspaces(t, s, ann)
	checkKeys(t, s, ann.address)
	checkLargeState(t, ann)
	checkCommands(t, s, ann)
}

// checkSecondApply: bob is refused while ann holds the lock. After force-unlock of ann's lock, ann is refused.
func checkSecondApply(t *testing.T, ann, bob *tool) {
	t.Helper()
	if held, err := bob.lock("apply-2"); !errors.Is(err, errStatus(423)) || held.ID != "apply-1" || held.Who != "ann@host" || held.Created.IsZero() {
		t.Fatalf("the second lock: %v %+v", err, held)
	}
	if err := bob.put(stateOf(3, "l", 10)); !errors.Is(err, errStatus(423)) {
		t.Errorf("a state without the lock: %v", err)
	}
	if err := bob.unlock("apply-2"); !errors.Is(err, errStatus(423)) {
		t.Errorf("an unlock with a wrong ID: %v", err)
	}
	bob.mustUnlock("apply-1")
	bob.mustLock("apply-2")
	if err := ann.put(stateOf(3, "l", 10)); !errors.Is(err, errStatus(423)) {
		t.Errorf("a state of the former holder: %v", err)
	}
	if got := bob.get(); !bytes.Equal(got, stateOf(2, "l", 10)) {
		t.Errorf("the state is %s", got)
	}
	if err := bob.put(stateOf(3, "l", 20)); err != nil {
		t.Error(err)
	}
	bob.mustUnlock("apply-2")
	if err := ann.put(stateOf(4, "l", 10)); !errors.Is(err, errStatus(412)) {
		t.Errorf("a state of the former holder, after all locks: %v", err)
	}
}

// checkWorkspaces: two workspaces are two addresses.
func checkWorkspaces(t *testing.T, s *server, ann *tool) {
	t.Helper()
	other := &tool{t: t, address: s.url + "/v1/terraform/prod/network/eu", key: s.prod}
	ann.mustLock("ws-1")
	other.mustLock("ws-2")
	if err := other.put(stateOf(1, "other", 5)); err != nil {
		t.Error(err)
	}
	other.mustUnlock("ws-2")
	ann.mustUnlock("ws-1")
	if got := ann.get(); !bytes.Equal(got, stateOf(3, "l", 20)) {
		t.Errorf("the state of the first workspace is %s", got)
	}
}

// checkKeys uses a key of other names, and a wrong key.
func checkKeys(t *testing.T, s *server, address string) {
	t.Helper()
	for key, status := range map[string]int{s.dev: 403, "rnl_wrong": 401} {
		if _, err := (&tool{t: t, address: address, key: key}).lock("x"); !errors.Is(err, errStatus(status)) {
			t.Errorf("%s: %v, want %d", key, err, status)
		}
	}
}

// checkLargeState: a state of 5 MB comes back unchanged, and a state beyond the limit of values is refused.
func checkLargeState(t *testing.T, ann *tool) {
	t.Helper()
	large := stateOf(4, "l", 5_000_000)
	ann.mustLock("large")
	if err := ann.put(large); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ann.get(), large) {
		t.Error("the large state comes back different")
	}
	if err := ann.put(stateOf(5, "l", 16<<20)); !errors.Is(err, errStatus(413)) {
		t.Errorf("a state of 16 MiB: %v", err)
	}
	ann.mustUnlock("large")
}

// checkCommands uses 'runnel terraform' on the states of the exchange, of which three versions are kept.
func checkCommands(t *testing.T, s *server, ann *tool) {
	t.Helper()
	runnel.Eventually(t, time.Minute, "list of the states by a replica", func() error {
		list := s.run(t, "terraform", "list", "prod/")
		if lines := strings.Split(strings.TrimSpace(list), "\n"); len(lines) != 2 || !strings.HasPrefix(lines[0], "prod/network\t4\t") || !strings.HasPrefix(lines[1], "prod/network/eu\t1\t") {
			return fmt.Errorf("runnel terraform list prints\n%s", list)
		}
		return nil
	})
	history := s.run(t, "terraform", "history", "prod/network")
	lines := strings.Split(strings.TrimSpace(history), "\n")
	if len(lines) != 3 || !strings.HasSuffix(lines[0], "\tprod\tstands") {
		t.Fatalf("runnel terraform history prints\n%s", history)
	}
	version, _, _ := strings.Cut(lines[2], "\t")
	if old := s.run(t, "terraform", "history", "prod/network", version); old != string(stateOf(2, "l", 10)) {
		t.Errorf("version %s is %s", version, old)
	}
	ann.mustLock("left")
	s.run(t, "terraform", "force-unlock", "prod/network", "left")
	ann.mustLock("next")
	ann.mustUnlock("next")
}
