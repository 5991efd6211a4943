// Package node composes a Runnel process from a configuration: the store over its partitions, the sync process with the
// webhooks, and the HTTP server.
//
// [Serve] is 'runnel serve' and [RunSync] is 'runnel sync'. Both start the store first and stop it last, so that
// accepted writes are completed and leases are released. SIGHUP reads the configuration file again: new partitions join
// the running store, and all changed keys wait for a restart.
package node
