// Package console holds the parts of the command line that all commands share: the standard streams, progress bars,
// questions, exit statuses, text that is safe for a terminal, and files that are replaced as a whole.
//
// Results go to standard output, everything else to standard error. Text from a server or a file may hold characters
// that control a terminal, so the standard streams write through a [Guard], and names in lines have the form of [Line].
package console
