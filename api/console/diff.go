package console

import "strings"

// diffRow is a pair of lines side by side. A line without its opposite has an empty one.
type diffRow struct {
	Left, Right     string
	InLeft, InRight bool
	Changed         bool
	LeftNo, RightNo int
}

// maxDiffLines bounds the lines of a comparison, whose cost is the product of both numbers.
const maxDiffLines = 500

// compareLines aligns the lines of two texts by their longest common subsequence.
func compareLines(left, right string) (rows []diffRow, tooLong bool) {
	a, b := strings.Split(left, "\n"), strings.Split(right, "\n")
	if len(a) > maxDiffLines || len(b) > maxDiffLines {
		return nil, true
	}
	common := make([][]int, len(a)+1) // lengths for the rest of both texts
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			rows = append(rows, diffRow{a[i], b[j], true, true, false, i + 1, j + 1})
			i, j = i+1, j+1
		case i < len(a) && j < len(b) && common[i+1][j+1] == common[i][j]: // both lines are replaced
			rows = append(rows, diffRow{a[i], b[j], true, true, true, i + 1, j + 1})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			rows = append(rows, diffRow{a[i], "", true, false, true, i + 1, 0})
			i++
		default:
			rows = append(rows, diffRow{"", b[j], false, true, true, 0, j + 1})
			j++
		}
	}
	return rows, false
}
