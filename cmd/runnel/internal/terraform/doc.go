// Package terraform is the work of 'runnel terraform': lists and old versions of the states of Terraform and OpenTofu, and the end
// of locks that a crash has left.
package terraform
