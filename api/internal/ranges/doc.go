// Package ranges parses the Range header of a request (RFC 9110, section 14).
package ranges
