// Package document holds the documents of entries, with which lists, changes and single keys answer, and the metadata of
// an entry in its three forms: header fields, the JSON that the store keeps, and the member of a document.
package document
