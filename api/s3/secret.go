package s3

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
)

// MinSecretBytes is the least size of the secret from which the secrets of keys are derived.
const MinSecretBytes = 32

// SecretOf returns the S3 secret of the API key with an id; the id is the access key. The secret is stored nowhere: it is
// derived from the secret of the cluster (auth.secret_file), and is valid as long as the API key is.
func SecretOf(cluster []byte, keyID string) (string, error) {
	key, err := hkdf.Key(sha256.New, cluster, nil, "runnel s3 "+keyID, 30)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(key), nil
}
