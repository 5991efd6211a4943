// Package wire holds the formats that the server and its clients share to the byte: the path of a key, the operation of
// a batch or transaction, names and values of metadata, and the documents of entries, lists, changes, problems and
// status. The package decides about form alone: whether a key, an entity tag or a duration is accepted, the server
// decides.
//
// The server decodes each operation of a batch or transaction with a [Decoder]. 'runnel import' decodes each line with
// [Decoder.Entry], which also takes the members that an export adds. Both therefore refuse the same text with the same
// [Error]: text that is not JSON or not UTF-8, unknown members, and members given twice or of the wrong type.
package wire
