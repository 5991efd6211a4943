// Package durability tracks up to which revision an origin is durable, so that the sync process copies nothing that a crash of
// the origin could take back.
package durability
