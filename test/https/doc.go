// Package https tests the binary over TLS: certificates, keys, passwords and logs that change under load, clients with
// certificates, the scraping by Prometheus, and the order of a stop.
package https
