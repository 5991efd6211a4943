package mysql

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestTLSVerifiesTheServerByItsName: the name comes from the address, the authorities from the
// parameter ca.
func TestTLSVerifiesTheServerByItsName(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, authority(t), 0o600); err != nil {
		t.Fatal(err)
	}
	for addr, name := range map[string]string{"db.example:3306": "db.example", "[::1]:3306": "::1", "/run/x.sock": "localhost"} {
		config, err := Config{Addr: addr, Params: map[string]string{"tls": "true", "ca": file}}.config()
		if err != nil {
			t.Fatal(err)
		}
		if config.TLS.ServerName != name || config.TLS.RootCAs == nil || config.TLS.InsecureSkipVerify {
			t.Errorf("%s is verified as %q", addr, config.TLS.ServerName)
		}
	}
	if err := os.WriteFile(file, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (Config{Addr: "h:1", Params: map[string]string{"tls": "true", "ca": file}}).config(); err == nil {
		t.Error("a file without a certificate is taken")
	}
}

func authority(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
