package exchange

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnelkv/runnel/api/internal/cors"
	"github.com/runnelkv/runnel/store/access"
)

// oneKey is a key that can be revoked.
type oneKey struct{ revoked atomic.Bool }

func (k *oneKey) Authenticate(string) (*access.Identity, error) {
	return &access.Identity{KeyID: "a"}, nil
}

func (k *oneKey) Ready() bool { return true }

func (k *oneKey) BySecret(id string, _ access.Hash) (*access.Identity, error) {
	return k.Authenticate(id)
}

func (k *oneKey) ByID(id string) (*access.Identity, error) { return k.Authenticate(id) }

func (k *oneKey) Current(*access.Identity) bool { return !k.revoked.Load() }

// deadlineWriter records the write deadline.
type deadlineWriter struct {
	*httptest.ResponseRecorder
	at atomic.Pointer[time.Time]
}

func (w *deadlineWriter) SetWriteDeadline(t time.Time) error { w.at.Store(&t); return nil }

// deadline returns the last deadline; zero: none.
func (w *deadlineWriter) deadline() time.Time {
	if at := w.at.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// TestGuardBoundsTheRestOfTheAnswer: the context ends within the time of a check, and no later deadline takes effect.
func TestGuardBoundsTheRestOfTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys, under := &oneKey{}, &deadlineWriter{ResponseRecorder: httptest.NewRecorder()}
		s := &Shared{Keys: keys}
		w := s.Begin(under, httptest.NewRequest("GET", "/", nil))
		w.Request.Identity = &access.Identity{KeyID: "a"}
		ctx, stop, _ := s.Guard(w, &w.Request)
		defer stop()
		time.Sleep(time.Minute)
		if w.SetWriteDeadline(time.Now().Add(time.Hour)); !under.deadline().Equal(time.Now().Add(time.Hour)) || Ended(ctx) != nil {
			t.Errorf("with a valid key: deadline %v, ended %v", under.deadline(), Ended(ctx))
		}
		keys.revoked.Store(true)
		<-ctx.Done()
		end := time.Now().Add(lastWords)
		for _, later := range []time.Time{end.Add(time.Hour), {}} {
			if w.SetWriteDeadline(later); Ended(ctx) == nil || !under.deadline().Equal(end) {
				t.Errorf("with a revoked key: deadline %v, want %v; ended %v", under.deadline(), end, Ended(ctx))
			}
		}
		if w.SetWriteDeadline(time.Now()); !under.deadline().Equal(time.Now()) {
			t.Errorf("an earlier deadline: %v", under.deadline())
		}
	})
}

// TestStoppedGuardTouchesNothing: after the answer the key is not checked any more.
func TestStoppedGuardTouchesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys, under := &oneKey{}, &deadlineWriter{ResponseRecorder: httptest.NewRecorder()}
		s := &Shared{Keys: keys}
		w := s.Begin(under, httptest.NewRequest("GET", "/", nil))
		w.Request.Identity = &access.Identity{KeyID: "a"}
		ctx, stop, _ := s.Guard(w, &w.Request)
		stop()
		keys.revoked.Store(true)
		time.Sleep(time.Minute)
		w.guard.check() // had begun before the stop
		if Ended(ctx) != nil || !under.deadline().IsZero() || ctx.Err() == nil {
			t.Errorf("ended %v, deadline %v, %v", Ended(ctx), under.deadline(), ctx.Err())
		}
	})
}

// TestOpenAnswersHaveNoGuard: without access control nothing is checked.
func TestOpenAnswersHaveNoGuard(t *testing.T) {
	s := &Shared{}
	w := s.Begin(httptest.NewRecorder(), httptest.NewRequest("GET", "/", http.NoBody))
	_, stop, _ := s.Guard(w, &w.Request)
	if stop(); w.guard != nil {
		t.Error("there is a guard")
	}
}

// TestGuardEndsWithTheSignIn: a long answer to a browser ends with the sign-in, although the key stays valid.
func TestGuardEndsWithTheSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Shared{Keys: &oneKey{}}
		w := s.Begin(&deadlineWriter{ResponseRecorder: httptest.NewRecorder()}, httptest.NewRequest("GET", "/", nil))
		w.Request.Identity, w.Request.Until = &access.Identity{KeyID: "a"}, time.Now().Add(time.Minute)
		began := time.Now()
		ctx, stop, _ := s.Guard(w, &w.Request)
		defer stop()
		select {
		case <-ctx.Done():
		case <-time.After(time.Hour):
		}
		if took := time.Since(began); took < time.Minute || took > time.Minute+keyCheck || Ended(ctx) == nil {
			t.Errorf("after %v: %v", took, Ended(ctx))
		}
	})
}

// TestTrustedOriginsCannotUseTheCookie: an origin whose pages may write with a key may not write with the cookie.
func TestTrustedOriginsCannotUseTheCookie(t *testing.T) {
	s := &Shared{CORS: cors.New([]string{"https://app.example"})}
	r := &Request{Request: httptest.NewRequest("PUT", "/v1/keys/a", nil)}
	r.Header.Set("Origin", "https://app.example")
	if err := s.checkOrigin(r); err != nil {
		t.Errorf("with a key: %v", err)
	}
	if r.Browser = true; s.checkOrigin(r) == nil {
		t.Error("with the cookie the write is allowed")
	}
}
