package sqlengine

import (
	"fmt"
	"strings"
)

// StatementsByKey returns the statements that find entries by key, for n keys.
func (s *Engine) StatementsByKey(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("'k/%d'", i)
	}
	in := "(" + strings.Join(keys, ",") + ")"
	return []string{
		s.names.Replace(SelectEntriesIn) + in,
		s.names.Replace(SelectHeadsIn) + in,
		s.names.Replace(SelectSmall+"1048576"+SelectSmallIn) + in,
		s.names.Replace(strings.Replace(selectHeads, "?", "'k/'", 1) + ` AND {key} < 'k0' ORDER BY {key} LIMIT 100`),
		strings.NewReplacer("{now}", "1", "?", "'k/'").Replace(s.names.Replace(selectUsage)) + s.names.Replace(strings.Replace(selectUsageEnd, "?", "100", 1)),
		s.names.Replace(strings.NewReplacer("origin = ?", "origin = 'a'", "?", "100").Replace(deleteKeys)) + in,
	}
}
