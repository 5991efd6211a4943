// Package status reports the state of the store and of the sync process: the status as a document, the health and the
// readiness of the process, and the figures for Prometheus. It also starts a pass on request.
//
// The package sees the sync process only through [Syncer], which the command adapts.
package status
