package config

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"macvtap-filter/internal/near"
)

// shape holds a decoded TOML value against the Go type that it is read into, and
// reports keys that the type does not have and values of another type. The
// TOML decoder's own check takes "Deny" for "deny" and [vm] for [[vm]], and
// speaks of Go types.
//
// at is the value's path (see positions), and key is what messages call
// it: the same without numbers.
func (c checker) shape(at, key string, value any, t reflect.Type) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	table, isTable := value.(map[string]any)
	list, isList := value.([]any)
	switch {
	case t.Kind() == reflect.Struct && isTable:
		known := tomlKeys(t)
		for _, k := range slices.Sorted(maps.Keys(table)) {
			if field, ok := known[k]; ok {
				c.shape(join(at, k), join(key, written(k)), table[k], field)
			} else {
				c.add(join(at, k), "unknown key %s%s", join(key, written(k)), cmp.Or(suggestion(k, known), place(k, t)))
			}
		}
	case t.Kind() == reflect.Map && isTable:
		for _, k := range slices.Sorted(maps.Keys(table)) {
			if _, isKey := tomlKeys(t.Elem())[k]; isKey && reflect.TypeOf(table[k]) != treeType(t.Elem()) {
				c.add(join(at, k), "%s: is in no section: want it below [%s.NAME], as [%s.%s]", join(key, k), key, key, DefaultPolicy)
				continue
			}
			c.shape(join(at, k), join(key, written(k)), table[k], t.Elem())
		}
	case t.Kind() == reflect.Slice && isList:
		for i, element := range list {
			if reflect.TypeOf(element) != treeType(t.Elem()) {
				c.add(join(at, strconv.Itoa(i)), "%s: want %s", key, describe(t, key))
				continue
			}
			c.shape(join(at, strconv.Itoa(i)), key, element, t.Elem())
		}
	case reflect.TypeOf(value) != treeType(t):
		c.add(at, "%s: want %s", key, describe(t, key))
	}
}

// place says where a key belongs that is known elsewhere in the file, "" for none. What is
// appended to a file is in its last section.
func place(key string, here reflect.Type) string {
	for _, p := range []struct {
		keys  reflect.Type
		where string
	}{
		{reflect.TypeFor[file](), "above the first section"},
		{reflect.TypeFor[filePolicy](), "below [policy.NAME], as [policy." + DefaultPolicy + "]"},
		{reflect.TypeFor[fileVM](), "below [[vm]]"},
	} {
		if _, known := tomlKeys(p.keys)[key]; known && p.keys != here {
			return ": it belongs " + p.where
		}
	}
	return ""
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// written gives a key as TOML has it: quoted unless it is a bare word.
func written(key string) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
	if key != "" && strings.Trim(key, letters) == "" {
		return key
	}
	return strconv.Quote(key)
}

// tomlKeys gives the types of a struct's fields by their keys in the file.
func tomlKeys(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		key, _, _ := strings.Cut(t.Field(i).Tag.Get("toml"), ",")
		out[key] = t.Field(i).Type
	}
	return out
}

// treeType is the type that the TOML decoder chooses by itself for what is read
// into t.
func treeType(t reflect.Type) reflect.Type {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return reflect.TypeFor[map[string]any]()
	case reflect.Slice:
		return reflect.TypeFor[[]any]()
	case reflect.Int:
		return reflect.TypeFor[int64]()
	default:
		return t
	}
}

// describe says in the words of the file what is written for a type.
func describe(t reflect.Type, key string) string {
	switch {
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return "sections [[" + key + "]]"
	case t.Kind() == reflect.Slice:
		return "a list of strings"
	case t.Kind() == reflect.Map:
		return "sections [" + key + ".NAME]"
	case t.Kind() == reflect.Struct:
		return "a section [" + key + "]"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int:
		return "a whole number"
	default:
		return "a string"
	}
}

// suggestion names the known key that a wrong one most likely is.
func suggestion(wrong string, known map[string]reflect.Type) string {
	return meant(near.Name(wrong, slices.Sorted(maps.Keys(known))))
}

// meant asks whether a name was meant, "" for none.
func meant(name string) string {
	if name == "" {
		return ""
	}
	return ": did you mean " + strconv.Quote(name) + "?"
}
