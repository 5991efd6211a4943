// Package negotiate chooses the representation of an answer by the Accept header of the request (RFC 9110, section
// 12.5.1). The lists of variants say what each kind of answer is available as, the default first.
package negotiate
