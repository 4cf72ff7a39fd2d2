package config

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// places say where in a file's text a key stands, and where its value begins. Both are
// found by their path, as "policy.dmz.deny.2" or "vm.0.policy": of the element of a list
// only the value, of a section only the key.
type places struct {
	keys, values map[string]int
}

// locate finds all places in a text that is known to be TOML. The elements of arrays of
// tables are numbered on from those that earlier files have, which counts is of.
func locate(text []byte, counts map[string]int) places {
	l := places{map[string]int{}, map[string]int{}}
	var p unstable.Parser
	p.Reset(text)
	var table []string
	for p.NextExpression() {
		e := p.Expression()
		switch key := keyOf(e); e.Kind {
		case unstable.Table:
			table = index(key, counts)
			l.header(key, counts, e.Key())
		case unstable.ArrayTable:
			counts[strings.Join(key, ".")]++
			table = index(key, counts)
			l.header(key, counts, e.Key())
		case unstable.KeyValue:
			l.pair(text, table, e, counts)
		}
	}
	return l
}

// index puts the number of the current table after each array of tables that a
// header's key goes through.
func index(key []string, counts map[string]int) []string {
	var out []string
	for i := range key {
		out = append(out, key[i])
		if n := counts[strings.Join(key[:i+1], ".")]; n > 0 {
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

// header notes where the names in a section's header stand.
func (l places) header(key []string, counts map[string]int, names unstable.Iterator) {
	for i := 1; names.Next(); i++ {
		offset := int(names.Node().Raw.Offset)
		note(l.keys, strings.Join(key[:i], "."), offset)
		note(l.keys, strings.Join(index(key[:i], counts), "."), offset)
	}
}

// pair notes where a key and its value are, and what is below the value.
func (l places) pair(text []byte, table []string, e *unstable.Node, counts map[string]int) {
	path := append([]string(nil), table...)
	end := 0
	for names := e.Key(); names.Next(); {
		path = append(path, string(names.Node().Data))
		raw := names.Node().Raw
		note(l.keys, strings.Join(path, "."), int(raw.Offset))
		end = int(raw.Offset + raw.Length)
	}
	begin := end + len(text[end:]) - len(bytes.TrimLeft(text[end:], " \t="))
	note(l.values, strings.Join(path, "."), begin)
	l.below(text, path, e.Value(), counts)
}

// below notes where the elements of a value begin.
func (l places) below(text []byte, path []string, v *unstable.Node, counts map[string]int) {
	at := strings.Join(path, ".")
	switch v.Kind {
	case unstable.Array:
		n, tables := counts[at], 0
		for it := v.Children(); it.Next(); n++ {
			element := append(append([]string(nil), path...), strconv.Itoa(n))
			if begin := beginOf(it.Node()); begin >= 0 {
				note(l.values, strings.Join(element, "."), begin)
			}
			if it.Node().Kind == unstable.InlineTable {
				tables++
			}
			l.below(text, element, it.Node(), counts)
		}
		if tables > 0 {
			counts[at] = n
		}
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			l.pair(text, path, it.Node(), counts)
		}
	}
}

// beginOf gives where an element of an array begins: one that is an array, of which the
// parser does not say, where the first of its own does; -1 where it has none.
func beginOf(v *unstable.Node) int {
	if v.Kind != unstable.Array {
		return int(v.Raw.Offset)
	}
	if it := v.Children(); it.Next() {
		return beginOf(it.Node())
	}
	return -1
}

// note keeps the first place.
func note(in map[string]int, path string, offset int) {
	if _, known := in[path]; !known {
		in[path] = offset
	}
}
