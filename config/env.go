package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Lookup returns an environment variable, like [os.LookupEnv]. A nil Lookup finds no variable.
type Lookup func(name string) (value string, found bool)

func (l Lookup) find(name string) (string, bool) {
	if l == nil {
		return "", false
	}
	return l(name)
}

var (
	reference    = regexp.MustCompile(`\$?\$\{([^}]*)(\}?)`)
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

const badReference = `"${" must be followed by a variable's name and "}"; "$${" stands for a plain "${"`

// expand replaces every ${NAME} by the variable's value, and every "$${" by "${", both passed through quote. The faults
// name the references that could not be replaced, and never a value.
func expand(text string, env Lookup, quote func(string) string) (expanded string, faults []string) {
	expanded = reference.ReplaceAllStringFunc(text, func(match string) string {
		if strings.HasPrefix(match, "$$") {
			return quote(match[1:])
		}
		parts := reference.FindStringSubmatch(match)
		if parts[2] == "" || !variableName.MatchString(parts[1]) {
			faults = append(faults, badReference)
			return ""
		}
		value, found := env.find(parts[1])
		if !found {
			faults = append(faults, fmt.Sprintf("the environment variable %s is not set", parts[1]))
		}
		return quote(value)
	})
	return expanded, faults
}

// expandURL is expand for a url. A value in the user or password is taken literally, with any characters. Elsewhere a
// value is inserted as text, so that a variable may also hold "host:port" or a whole url.
func expandURL(text string, env Lookup) (expanded string, faults []string) {
	cut := endOfUserinfo(text)
	userinfo, faults := expand(text[:cut], env, percentEncode)
	rest, more := expand(text[cut:], env, verbatim)
	return userinfo + rest, append(faults, more...)
}

func endOfUserinfo(text string) int {
	authority, found := strings.CutPrefix(text, mysqlPrefix)
	if !found {
		return 0
	}
	authority, _, _ = strings.Cut(authority, "/")
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		return len(mysqlPrefix) + at
	}
	return 0
}

func verbatim(s string) string { return s }

func percentEncode(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
