// Package etag makes and parses entity tags (RFC 9110, section 8.8.3). The entity tag of an entry is its revision, with a
// suffix for every format but the stored value, so each tag of an entry stands for its revision.
package etag
