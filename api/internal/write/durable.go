package write

import (
	"net/url"

	"github.com/runnelkv/runnel/api/internal/problem"
)

// Durable parses the parameter durable: whether the answer shall wait until a majority of the voters holds the write.
func Durable(q url.Values) (majority bool, err error) {
	switch value := q.Get("durable"); {
	case !q.Has("durable"), value == "master":
		return false, nil
	case value == "majority":
		return true, nil
	default:
		return false, problem.Parameter("durable", "durable is master or majority, not %q.", value)
	}
}
