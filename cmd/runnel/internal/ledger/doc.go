// Package ledger is the command "runnel ledger": accounts and transfers through the HTTP API, and a menu for a terminal.
package ledger
