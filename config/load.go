package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"github.com/BurntSushi/toml"
)

// maxFileBytes bounds a configuration file and a password file.
const maxFileBytes = 1 << 20

// Load reads the file at path; env is usually [os.LookupEnv]. The error is [Problems] when the content is at fault,
// and wraps the operating system's when the file cannot be read.
func Load(path string, env Lookup) (*Config, error) {
	source, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	return Parse(path, source, env)
}

// Parse is Load for a source that is at hand already; file is only the name that problems are told with. It reads the
// password files that the source names.
func Parse(file string, source []byte, env Lookup) (*Config, error) {
	r := &report{file: file}
	var document map[string]any
	if _, err := toml.Decode(string(source), &document); err != nil {
		r.syntax(err)
		return nil, r.err()
	}
	r.lines = indexLines(string(source))
	c := base()
	(&decoder{report: r, env: env}).table("", document, reflect.ValueOf(c).Elem())
	r.readPasswords(c.Partitions)
	if c.Store.Masters == nil && len(c.Partitions) > 0 {
		c.Store.Masters = []string{c.Partitions[0].Name}
	}
	newChecker(r).config(c)
	if err := r.err(); err != nil {
		return nil, err
	}
	return c, nil
}

func (r *report) syntax(err error) {
	problem := Problem{File: r.file, Message: err.Error()}
	var parse toml.ParseError
	if errors.As(err, &parse) {
		problem.Line, problem.Key, problem.Message = parse.Position.Line, parse.LastKey, parse.Message
	}
	r.problems = append(r.problems, problem)
}

// readPasswords puts the content of each password_file into its partition's URL.
func (r *report) readPasswords(partitions []Partition) {
	for i := range partitions {
		p, key := &partitions[i], partitionKey(i)+".password_file"
		switch {
		case p.PasswordFile == "" || r.faulty(partitionKey(i)+".url"):
		case p.URL.Scheme == SQLite:
			r.addf(key, "is of no use to SQLite, which has no passwords")
		case p.URL.Password.IsSet():
			r.addf(key, "the url already holds a password; keep one of the two")
		default:
			password, err := readPassword(p.PasswordFile)
			if err != nil {
				r.addf(key, "%v", err)
			}
			p.URL.Password = password
		}
	}
}

// readPassword returns the first line of a file, without its line end.
func readPassword(path string) (Secret, error) {
	content, err := readFile(path)
	if err != nil {
		return Secret{}, err
	}
	line, _, _ := strings.Cut(string(content), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" {
		return Secret{}, fmt.Errorf("the first line of %s is empty", path)
	}
	return NewSecret(line), nil
}

// readFile reads a regular file of bounded size: a pipe or device could keep the caller waiting for ever.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(content) > maxFileBytes {
		err = fmt.Errorf("%s is larger than %v", path, Size(maxFileBytes))
	}
	return content, err
}
