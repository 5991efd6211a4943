// Package webhook posts the changes of a store to HTTP endpoints.
package webhook
