package write

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
)

// FenceHeader is the header that names locks with their fences: NAME=FENCE, separated by commas, the names percent-encoded as in a path.
const FenceHeader = "Runnel-Fence"

// maxFences bounds the fences of a request.
const maxFences = 16

// Fences reads the fences of a request. Pass them to store.UpdateOptions or store.Write. The error is a *problem.Error.
func Fences(h http.Header) ([]store.Fence, error) {
	lines := h[FenceHeader]
	if lines == nil {
		return nil, nil
	}
	return ParseFences(strings.Join(lines, ","))
}

// ParseFences parses the value of the header.
func ParseFences(text string) (fences []store.Fence, err error) {
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		at := strings.LastIndexByte(part, '=')
		if at < 0 {
			return nil, problem.Header(FenceHeader, "%s is NAME=FENCE, as in jobs/7=1099511627777, not %q.", FenceHeader, part)
		}
		name, err := url.PathUnescape(part[:at])
		if err == nil {
			err = store.CheckName(name, store.MaxKeyBytes)
		}
		if err != nil {
			return nil, problem.Header(FenceHeader, "The name of the lock in %q is invalid: %v.", part, err)
		}
		fence, err := strconv.ParseInt(part[at+1:], 10, 64)
		if err != nil || fence < 1 {
			return nil, problem.Header(FenceHeader, "The fence in %q is not a positive number.", part)
		}
		fences = append(fences, store.Fence{Name: name, Fence: store.Revision(fence)})
	}
	if len(fences) > maxFences {
		return nil, problem.Header(FenceHeader, "%s has %d fences, more than %d.", FenceHeader, len(fences), maxFences)
	}
	return fences, nil
}
