// Package terraform keeps the states of Terraform and OpenTofu: for each name the present state and its former versions, with
// a lock.
//
// # Entries
//
//	terraform/NAME                                the record of the state NAME: a line for each kept version, the newest first
//	terraform-version/{NAME}/<inverted revision>  the text of a version, written once and never changed
//
// A state is stored by an Update that appends the text of the new version, adds its line to the record, and deletes the texts of
// the versions that are too old to be kept. All of these entries have the slot of NAME, and so has the lock NAME. States are
// read from their master: a plan that is made from an old state would be wrong.
//
// # Lock
//
// The state NAME is locked by the lock NAME of package lock. The holder is known by the id that the tool has chosen for its
// lock. The Update that stores or deletes a state checks the lock: while anybody holds the lock, only the writer that names the id of the
// holder succeeds, and a writer that names an id which holds the lock no more changes nothing. The tools do not renew their
// locks, so a lock lasts for LockTTL after the acquisition and after each stored state.
//
// # Order
//
// The tools count the versions of a state in its serial, and name the history that the state belongs to in its lineage. A new
// version has the lineage of the version that stands, and a higher serial. The same text again changes nothing, so that a
// request can be repeated.
package terraform
