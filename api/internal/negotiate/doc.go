// Package negotiate chooses the representation of an answer by the Accept header of the request (RFC 9110, section
// 12.5.1). Each kind of answer has a list of variants, the default first.
package negotiate
