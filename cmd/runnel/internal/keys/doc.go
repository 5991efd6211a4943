// Package keys holds the commands of 'runnel key', which create, list, revoke and rotate API keys.
//
// The commands open the partitions of a configuration themselves, so the first key needs no server. A secret is printed
// once, alone on standard output; everything else about a new key goes to standard error.
package keys
