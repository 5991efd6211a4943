// Package certs makes certificate authorities and certificates for tests, as PEM files.
package certs
