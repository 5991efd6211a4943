// Package ledger answers the routes of accounts and transfers, /v1/accounts, /v1/transfers and /v1/ledger, from the ledger of
// package store/ledger.
//
// A handler decodes the request, checks the grants of its sender for every account that the request names, calls one method of the
// ledger, and answers with the document. answered turns the errors of the ledger into problems.
package ledger
