// Package terraform serves the states of Terraform and OpenTofu: the protocol of their backend "http", and in addition a list of
// the states and the history of each. States and their locks are named like keys, and the grants of a key's name decide on the
// state of that name.
package terraform
