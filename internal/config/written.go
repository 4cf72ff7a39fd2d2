package config

import (
	"reflect"
	"strconv"
	"strings"
)

// builtInPlace stands for the file and line of what no file says.
const builtInPlace = "default"

// Written says where in the files a policy has what from: for people who ask why. Nothing of
// it is known before somebody asks.
type Written struct {
	raw   *file
	where func(at string) string
}

// Written finds the places.
func (c *Config) Written() Written { return Written{c.raw, c.where()} }

// A Line is an entry of a list, or a key's value, as it is written, and where: the file and
// line, or "default".
type Line struct{ Text, Where string }

func (l Line) String() string { return l.Text + " (" + l.Where + ")" }

// List gives the entries of a policy's list, those included that it builds on.
func (w Written) List(policy, key string) []Line {
	name, value := w.said(policy, key)
	texts, ok := value.Interface().(*[]string)
	switch {
	case name == "":
		return builtInLines(key)
	case !ok || texts == nil:
		return nil
	}
	var out []Line
	for i, text := range *texts {
		switch {
		case strings.TrimSpace(text) == inherit && name == DefaultPolicy:
			out = append(out, builtInLines(key)...)
		case strings.TrimSpace(text) == inherit:
			out = append(out, w.List(w.base(name), key)...)
		default:
			out = append(out, Line{text, w.where("policy." + name + "." + key + "." + strconv.Itoa(i))})
		}
	}
	return out
}

// builtInLines gives the entries of a list's built-in default.
func builtInLines(key string) []Line {
	var out []Line
	if texts, ok := fieldOf(builtIn(), key).Interface().(*[]string); ok && texts != nil {
		for _, text := range *texts {
			out = append(out, Line{text, builtInPlace})
		}
	}
	return out
}

// Key gives what a policy's key says, "" where nobody says anything.
func (w Written) Key(policy, key string) Line {
	name, value := w.said(policy, key)
	line := Line{Where: builtInPlace}
	if name != "" {
		line.Where = w.where("policy." + name + "." + key)
	}
	if !value.IsNil() {
		line.Text = key + " = " + asWritten(value)
	}
	return line
}

// Policy gives where a policy begins.
func (w Written) Policy(name string) string {
	if _, written := w.raw.Policy[name]; !written {
		return builtInPlace
	}
	return w.where("policy." + name)
}

// VM gives where the [[vm]] section begins that is the n-th, from 1 (see Policy.Section), or
// one of its keys.
func (w Written) VM(n int, key string) string {
	at := "vm." + strconv.Itoa(n-1)
	if key != "" {
		at += "." + key
	}
	return w.where(at)
}

// Group gives where members of a group stand that are written so, those of the groups in it
// included.
func (w Written) Group(name, member string) []Line {
	var out []Line
	for i, text := range w.raw.Group[name].Members {
		text = strings.TrimSpace(text)
		if other, is := isGroup(text); is {
			out = append(out, w.Group(other, member)...)
		} else if text == member {
			out = append(out, Line{text, w.where("group." + name + ".members." + strconv.Itoa(i))})
		}
	}
	return out
}

// said gives a key's value and the policy that says it: this one, one that it builds on, or
// "", the built-in defaults.
func (w Written) said(policy, key string) (name string, value reflect.Value) {
	value = fieldOf(w.raw.Policy[policy], key)
	switch {
	case !value.IsNil():
		return policy, value
	case policy == DefaultPolicy:
		return "", fieldOf(builtIn(), key)
	}
	return w.said(w.base(policy), key)
}

// base names the policy that one builds on.
func (w Written) base(policy string) string {
	if extends := w.raw.Policy[policy].Extends; extends != nil {
		return *extends
	}
	return DefaultPolicy
}

// fieldOf gives the value of a policy's key.
func fieldOf(p filePolicy, key string) reflect.Value {
	section := reflect.ValueOf(p)
	for i := range section.NumField() {
		if section.Type().Field(i).Tag.Get("toml") == key {
			return section.Field(i)
		}
	}
	panic("a policy has no key " + key)
}

// Entries gives what an entry of deny or allow stands for: itself, or one for each member of
// the group that it names.
func (c *Config) Entries(text string) ([]Entry, error) { return c.groups.entries(nil, text) }
