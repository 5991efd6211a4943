package exchange

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/runnelkv/runnel/api/internal/problem"
	"github.com/runnelkv/runnel/store"
)

// parameters parses a query. Unknown and repeated parameters are refused, so that a misspelt parameter is not ignored
// silently.
func parameters(rawQuery string, known []string) (url.Values, error) {
	if rawQuery == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, problem.New(problem.InvalidParameter, "The query is not well-formed.")
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(known, name) {
			return nil, problem.Parameter(problem.Printable(name), "There is no parameter %q here; there are: %s.", name, orNone(known))
		}
		if len(values[name]) > 1 {
			return nil, problem.Parameter(name, "The parameter %q is given more than once.", name)
		}
	}
	return values, nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// PageLimit parses the parameter limit; 0 if absent.
func PageLimit(q url.Values) (int, error) {
	if !q.Has("limit") {
		return 0, nil
	}
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit < 1 || limit > store.MaxLimit {
		return 0, problem.Parameter("limit", "limit is a number from 1 to %d, not %q.", store.MaxLimit, q.Get("limit"))
	}
	return limit, nil
}

// Flag parses a boolean parameter; false if absent.
func Flag(q url.Values, name string) (bool, error) {
	switch v := q.Get(name); {
	case v == "true":
		return true, nil
	case v == "false", !q.Has(name):
		return false, nil
	}
	return false, problem.Parameter(name, "%s is true or false, not %q.", name, q.Get(name))
}

var attachment = []string{"attachment"}

// CheckDownload returns the error in the parameter download.
func CheckDownload(q url.Values) error {
	_, err := Flag(q, "download")
	return err
}

// SetDownload makes a browser save a stored value instead of showing the value, if the query has download=true.
func SetDownload(h http.Header, q url.Values) {
	if q.Get("download") == "true" {
		h["Content-Disposition"] = attachment
	}
}

// Part parses a parameter that is part of a name; "" if absent.
func Part(q url.Values, name string) (string, error) {
	v := q.Get(name)
	if len(v) > store.MaxKeyBytes || !utf8.ValidString(v) {
		return "", problem.Parameter(name, "%s is at most %d bytes of valid UTF-8.", name, store.MaxKeyBytes)
	}
	return v, nil
}
