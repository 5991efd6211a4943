package problem

import "strconv"

// Printable quotes the non-printable characters of a name from outside.
func Printable(s string) string {
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}
