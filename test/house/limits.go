package main

// The limits are the measures of the worst of sixteen model code bases. Never raise a limit.

const (
	// sharedLimit bounds the unexported method names that three or more types share, in 100 functions.
	sharedLimit = 1.2
	// folderLimit bounds the files of a folder.
	folderLimit = 30
	// arrowLimit bounds the arrows of a package per file.
	arrowLimit = 3.5
	// functionLimit bounds the lines of a function.
	functionLimit = 52
)

// proseLimits bounds the vague words in 1,000 words, by the groups of vagueWords.
var proseLimits = rates{1, 1, 18, 6}
