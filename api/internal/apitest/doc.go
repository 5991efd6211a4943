// Package apitest runs a server of the API on a real store over memory partitions, for the tests of package api and of
// the packages below it. Every request that [Node.Do] sends, and every answer, is compared with openapi.yaml.
package apitest
