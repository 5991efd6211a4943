// Package bank is the command bench bank: random transfers between accounts of a running server, and a check that the total never changes.
package bank
