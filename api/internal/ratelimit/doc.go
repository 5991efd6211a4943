// Package ratelimit bounds the rate of events for each of many names, such as the addresses of clients or the ids of API
// keys.
//
// Each name has a token bucket. The number of buckets is bounded: beyond it, rarely used buckets are dropped, and a
// dropped name starts with a full bucket. Names are not stored anywhere else, so a restart forgets them.
//
// Slots bound the number of things that each name has in progress at once.
package ratelimit
