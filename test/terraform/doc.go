// Package terraform tests the states of Terraform and OpenTofu on a running server with API keys: an exchange of requests as the
// tools send them, and OpenTofu itself, if the program is installed.
package terraform
