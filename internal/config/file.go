package config

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// file is the configuration as it is written; reference.toml documents it.
type file struct {
	Parents   []string              `toml:"parents"`
	Reconnect *string               `toml:"reconnect"`
	Policy    map[string]filePolicy `toml:"policy"`
	VM        []fileVM              `toml:"vm"`
}

type filePolicy struct {
	Deny  *[]string `toml:"deny"`
	Allow *[]string `toml:"allow"`
}

type fileVM struct {
	Name   *string `toml:"name"`
	UUID   *string `toml:"uuid"`
	Policy *string `toml:"policy"`
}

// decode reads the file's text, and on which line each of its values stands.
func decode(name string, text []byte) (*file, positions, error) {
	var f file
	err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&f)
	var unknown *toml.StrictMissingError
	var bad *toml.DecodeError
	switch {
	case errors.As(err, &unknown) && len(unknown.Errors) > 0:
		first := unknown.Errors[0]
		line, _ := first.Position()
		return nil, nil, fmt.Errorf("%s:%d: unknown key %q", name, line, strings.Join(first.Key(), "."))
	case errors.As(err, &bad):
		line, _ := bad.Position()
		return nil, nil, fmt.Errorf("%s:%d: %s", name, line, strings.TrimPrefix(bad.Error(), "toml: "))
	case err != nil:
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return &f, locate(text), nil
}

// positions maps the path of a value, as in "policy.dmz.deny.2" or
// "vm.0.policy", to its line, counted from 1.
type positions map[string]int

// locate finds every value's line in a text that is known to be TOML.
func locate(text []byte) positions {
	var p unstable.Parser
	p.Reset(text)
	out := positions{}
	arrays := map[string]int{} // tables seen of each array of tables
	var table []string
	for p.NextExpression() {
		e := p.Expression()
		key := keyOf(e)
		switch e.Kind {
		case unstable.Table:
			table = index(key, arrays)
			out.add(&p, table, e.Key())
		case unstable.ArrayTable:
			arrays[strings.Join(key, ".")]++
			table = index(key, arrays)
			out.add(&p, table, e.Key())
		case unstable.KeyValue:
			path := append(append([]string(nil), table...), key...)
			out.add(&p, path, e.Key())
			out.value(&p, path, e.Value())
		}
	}
	return out
}

// index puts the number of the current table after each array of tables that a
// header's key goes through.
func index(key []string, arrays map[string]int) []string {
	var out []string
	for i := range key {
		out = append(out, key[i])
		if n := arrays[strings.Join(key[:i+1], ".")]; n > 0 {
			out = append(out, strconv.Itoa(n-1))
		}
	}
	return out
}

func keyOf(e *unstable.Node) []string {
	var key []string
	for it := e.Key(); it.Next(); {
		key = append(key, string(it.Node().Data))
	}
	return key
}

// add notes the line of a key's first word.
func (l positions) add(p *unstable.Parser, path []string, key unstable.Iterator) {
	if key.Next() {
		l[strings.Join(path, ".")] = p.Shape(key.Node().Raw).Start.Line
	}
}

// value notes the lines of the elements below a value.
func (l positions) value(p *unstable.Parser, path []string, v *unstable.Node) {
	switch v.Kind {
	case unstable.Array:
		n := 0
		for it := v.Children(); it.Next(); n++ {
			below := append(append([]string(nil), path...), strconv.Itoa(n))
			if raw := it.Node().Raw; raw.Length > 0 {
				l[strings.Join(below, ".")] = p.Shape(raw).Start.Line
			}
			l.value(p, below, it.Node())
		}
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			below := append(append([]string(nil), path...), keyOf(it.Node())...)
			l.add(p, below, it.Node().Key())
			l.value(p, below, it.Node().Value())
		}
	}
}

// line gives the line of the value at a path, or of the nearest thing around it.
func (l positions) line(path string) int {
	for {
		if n, ok := l[path]; ok {
			return n
		}
		dot := strings.LastIndexByte(path, '.')
		if dot < 0 {
			return 0
		}
		path = path[:dot]
	}
}
