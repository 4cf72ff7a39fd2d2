package config

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// A source is a configuration file that was read.
type source struct {
	file string
	text []byte
}

// line gives the file and the line of an offset in its text, or the file where there is none.
func (s *source) line(offset int) string {
	if offset < 0 {
		return s.file
	}
	return fmt.Sprintf("%s:%d", s.file, 1+bytes.Count(s.text[:offset], []byte("\n")))
}

// A checker collects what is wrong with a configuration.
type checker struct {
	sources []*source
	current int // the source that is being read, by its place among them
	found   *[]problem

	spoilt    map[string]bool   // paths of values of another type: what else is wrong there follows from that
	misplaced map[string]bool   // keys that are known, and in the wrong section
	renamed   map[string]string // paths of keys that were meant, and what is written in their place
	first     map[string]int    // paths of keys of several sources, and the one that has them
}

// A problem is something wrong with the value at a path (see places), or with its key.
type problem struct {
	at    string
	text  string
	key   bool
	where int // the source, -1: the first that has the path
	also  int // 1 + an earlier source that has the key, too; 0 for none
}

func newChecker(sources ...*source) checker {
	return checker{sources: sources, found: new([]problem), spoilt: map[string]bool{}, misplaced: map[string]bool{}, renamed: map[string]string{}, first: map[string]int{}}
}

// anew gives a checker of the same text that has found nothing.
func (c checker) anew() checker {
	c.found = new([]problem)
	return c
}

// add notes a problem with the value at a path.
func (c checker) add(at, format string, args ...any) {
	for path := at; path != ""; path = around(path) {
		if c.spoilt[path] {
			return
		}
	}
	*c.found = append(*c.found, problem{at: at, text: fmt.Sprintf(format, args...), where: -1})
}

// addKey notes a problem with a key of the source that is being read.
func (c checker) addKey(at, format string, args ...any) {
	*c.found = append(*c.found, problem{at: at, text: fmt.Sprintf(format, args...), key: true, where: c.current})
}

// taken reports whether an earlier source has a key, of what type its value may be, and
// notes that as a problem. Sections may be in several, as far as their keys are others.
func (c checker) taken(at, key string, t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if len(c.sources) == 1 || t.Kind() == reflect.Struct || t.Kind() == reflect.Map || t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct {
		return false
	}
	first, known := c.first[at]
	if !known {
		c.first[at] = c.current
		return false
	}
	*c.found = append(*c.found, problem{at: at, text: key, key: true, where: c.current, also: 1 + first})
	return true
}

// addType notes a value of another type.
func (c checker) addType(at, format string, args ...any) {
	*c.found = append(*c.found, problem{at: at, text: fmt.Sprintf(format, args...), where: c.current})
	c.spoilt[at] = true
}

// around gives the path of what a value is in, "" for the file.
func around(path string) string { return path[:max(0, strings.LastIndexByte(path, '.'))] }

// err gives what was found, nil for nothing.
func (c checker) err() error {
	return mistaken(c.all())
}

// all gives everything that was found, in the order of the files. Only then are places
// looked for: a file that is right need not wait for it.
func (c checker) all() []Mistake {
	if len(*c.found) == 0 {
		return nil
	}
	all := c.locate()
	type placed struct {
		problem
		offset int
	}
	var found []placed
	for _, p := range *c.found {
		where, offset := c.find(all, p)
		if p.where = where; p.also > 0 {
			other, there := c.find(all, problem{at: p.at, key: true, where: p.also - 1})
			p.text += ": " + c.sources[other].line(there) + " sets it, too: leave one out"
		}
		found = append(found, placed{p, offset})
	}
	slices.SortStableFunc(found, func(a, b placed) int {
		return cmp.Or(a.where-b.where, cmp.Compare(uint(a.offset), uint(b.offset))) // last what has no place
	})
	var out []Mistake
	for _, p := range found {
		s := c.sources[p.where]
		out = append(out, mistakeAt(s.file, s.text, p.offset, p.text))
	}
	return out
}

// locate finds the places in all sources.
func (c checker) locate() []places {
	var all []places
	counts := map[string]int{}
	for _, s := range c.sources {
		all = append(all, locate(s.text, counts))
	}
	return all
}

// places gives a function that gives the file and line of what stands at a path.
func (c checker) places() func(at string) string {
	all := c.locate()
	return func(at string) string {
		where, offset := c.find(all, problem{at: at, where: -1})
		return c.sources[where].line(offset)
	}
}

// find gives the source and the offset of a problem, or of the nearest thing around it; an
// offset of -1 where there is none.
func (c checker) find(all []places, p problem) (where, offset int) {
	for path := p.at; path != ""; path = around(path) {
		for i, l := range all {
			if p.where >= 0 && p.where != i {
				continue
			}
			for _, written := range c.written(path) {
				if offset, known := l.values[written]; known && (!p.key || path != p.at) {
					return i, offset
				}
				if offset, known := l.keys[written]; known {
					return i, offset
				}
			}
		}
	}
	return max(0, p.where), -1
}

// written gives the forms in which a path may stand in a file, with its mistakes.
func (c checker) written(path string) []string {
	if path == "" || len(c.renamed) == 0 {
		return []string{path}
	}
	name := path[strings.LastIndexByte(path, '.')+1:]
	var out []string
	for _, before := range c.written(around(path)) {
		out = append(out, join(before, name))
		if wrong, ok := c.renamed[path]; ok {
			out = append(out, join(before, wrong))
		}
	}
	return out
}
