// Package wire holds what the server and its clients must agree on to the byte: how a key is encoded in a path, which
// JSON is an operation of a batch, which names and values metadata can have, and the entry as lists and exports write
// it. It decides about form alone: whether a key, an entity tag or a duration is accepted is the server's decision.
//
// The server decodes each operation of a batch or transaction with a [Decoder]; 'runnel import' decodes each line with
// [Decoder.Entry], which takes the members that an export adds as well. So both refuse the same things with the same
// [Error]: text that is not JSON or not UTF-8, unknown members, members given twice or of the wrong type.
package wire
