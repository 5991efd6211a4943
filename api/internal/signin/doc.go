// Package signin seals the cookie of a browser that has signed in with an API key.
//
// The cookie holds the id of the key, the hash of its secret and two times, never the secret. A [Sealer] encrypts and
// authenticates them, so that a browser can neither read nor change them. The server accepts a cookie only while the
// secret is valid: the cookie ends when its key is revoked or expires, and after a rotation together with the old secret.
package signin
