package exchange_test

import (
	"encoding/base64"
	"testing"

	"github.com/runnelkv/runnel/api"
	"github.com/runnelkv/runnel/api/internal/apitest"
	"github.com/runnelkv/runnel/store/access"
)

// basic encodes the credentials USER:PASSWORD.
func basic(credentials string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))
}

// TestPasswordOfBasicCredentialsIsTheKey: the user name does not count, and nothing but a key is accepted.
func TestPasswordOfBasicCredentialsIsTheKey(t *testing.T) {
	keys := apitest.NewKeys(t, map[string]access.Spec{"admin": {Roles: []access.Role{access.RoleAdmin}}, "reader": {Roles: []access.Role{access.RoleRead}}})
	n := apitest.New(t, func(o *api.Options) { o.Keys = keys })
	for authorization, want := range map[string]int{
		basic("runnel:admin"):                 201,
		basic(":admin"):                       201,
		"basic " + basic("a:admin")[6:]:       201,
		basic("admin:reader"):                 403,
		basic("admin:"):                       401,
		basic("admin"):                        401,
		basic("a:admin:"):                     401,
		basic("a:b:admin"):                    401,
		"Basic admin":                         401,
		"Basic a:admin":                       401,
		"Basic " + basic("a:admin")[6:] + "?": 401,
		"Digest " + basic("a:admin")[6:]:      401,
	} {
		w := n.Do(t, "PUT", "/v1/keys/k", "v", "Authorization", authorization)
		if w.Code != want && !(want == 201 && w.Code == 204) {
			t.Errorf("%s: %d %s", authorization, w.Code, w.Body)
		}
		if w.Code == 401 && w.Header().Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: browsers would ask for a password: %v", authorization, w.Header())
		}
	}
	if w := n.Do(t, "GET", "/v1/keys/k", "", "Authorization", basic("a:admin"), "Authorization", basic("a:admin")); w.Code != 401 {
		t.Errorf("two headers: %d", w.Code)
	}
}

// TestOtherPagesCannotUseBasicCredentials: a browser that remembers the credentials adds them to the requests of every page,
// so pages of allowed origins cannot write with them either.
func TestOtherPagesCannotUseBasicCredentials(t *testing.T) {
	keys := apitest.NewKeys(t, map[string]access.Spec{"admin": {Roles: []access.Role{access.RoleAdmin}}})
	n := apitest.New(t, func(o *api.Options) { o.Keys, o.Origins = keys, []string{"https://app.example"} })
	for authorization, want := range map[string]int{basic("a:admin"): 403, "Bearer admin": 201} {
		w := n.Do(t, "PUT", "/v1/keys/k", "v", "Authorization", authorization, "Origin", "https://app.example", "Sec-Fetch-Site", "cross-site")
		if w.Code != want {
			t.Errorf("%s: %d %s", authorization, w.Code, w.Body)
		}
	}
}
