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

// fill reads a decoded TOML value into a Go value, and reports keys that its type does not
// have and values of another type, which stay empty. The TOML decoder's own check takes
// "Deny" for "deny" and [vm] for [[vm]], speaks of Go types, and ends at the first mistake.
//
// at is the value's path (see places), and key is what messages call it: the same without
// numbers.
func (c checker) fill(at, key string, value any, out reflect.Value) {
	if out.Kind() == reflect.Pointer {
		out.Set(reflect.New(out.Type().Elem()))
		out = out.Elem()
	}
	switch t := out.Type(); {
	case reflect.TypeOf(value) != treeType(t):
		c.addType(at, "%s: want %s", key, describe(t, key))
	case t.Kind() == reflect.Struct:
		c.fillSection(at, key, value.(map[string]any), out)
	case t.Kind() == reflect.Map:
		c.fillSections(at, key, value.(map[string]any), out)
	case t.Kind() == reflect.Slice:
		c.fillList(at, key, value.([]any), out)
	default:
		out.Set(reflect.ValueOf(value).Convert(t))
	}
}

// fillSection reads a table of known keys.
func (c checker) fillSection(at, key string, table map[string]any, out reflect.Value) {
	known := tomlKeys(out.Type())
	for _, k := range slices.Sorted(maps.Keys(table)) {
		name := k
		if _, ok := known[k]; !ok {
			elsewhere := place(k, out.Type())
			name = near.Name(k, slices.Sorted(maps.Keys(known)))
			c.addKey(join(at, k), "unknown key %s%s", join(key, written(k)), cmp.Or(meant(name), elsewhere))
			_, both := table[name]
			if c.misplaced[k] = elsewhere != ""; name == "" || both && known[name].Kind() != reflect.Map {
				continue
			}
			c.renamed[join(at, name)] = k // what else is wrong is told, too
		}
		if to := field(out, name); !c.taken(join(at, name), join(key, written(name)), to.Type()) {
			c.fill(join(at, name), join(key, written(name)), table[k], to)
		}
	}
}

// fillSections reads tables that the file gives names to.
func (c checker) fillSections(at, key string, tables map[string]any, out reflect.Value) {
	kind := out.Type().Elem()
	if out.IsNil() {
		out.Set(reflect.MakeMap(out.Type()))
	}
	for _, k := range slices.Sorted(maps.Keys(tables)) {
		if kind.Kind() == reflect.Struct && reflect.TypeOf(tables[k]) != treeType(kind) {
			if _, isKey := tomlKeys(kind)[k]; isKey {
				c.addKey(join(at, k), "%s: is in no section: want it below [%s.NAME], as %s", join(key, k), key, example(kind))
				continue
			}
		}
		if c.taken(join(at, k), join(key, written(k)), kind) {
			continue
		}
		one := reflect.New(kind).Elem()
		if earlier := out.MapIndex(reflect.ValueOf(k)); earlier.IsValid() {
			one.Set(earlier)
		}
		c.fill(join(at, k), join(key, written(k)), tables[k], one)
		out.SetMapIndex(reflect.ValueOf(k), one)
	}
}

// fillList reads a list: of sections, behind those that are there. There may be ten thousand
// strings: nothing is made for each of them.
func (c checker) fillList(at, key string, list []any, out reflect.Value) {
	kind := out.Type().Elem()
	before := 0
	if kind.Kind() == reflect.Struct {
		before = out.Len()
	}
	all := reflect.MakeSlice(out.Type(), before+len(list), before+len(list))
	reflect.Copy(all, out)
	out.Set(all)
	for i, value := range list {
		switch text, isText := value.(string); {
		case reflect.TypeOf(value) != treeType(kind):
			c.addType(join(at, strconv.Itoa(before+i)), "%s: want %s", key, describe(out.Type(), key))
		case isText:
			all.Index(i).SetString(text)
		default:
			c.fill(join(at, strconv.Itoa(before+i)), key, value, all.Index(before+i))
		}
	}
}

// field gives the field of a struct that a key is read into.
func field(out reflect.Value, key string) reflect.Value {
	for i := range out.NumField() {
		if name, _, _ := strings.Cut(out.Type().Field(i).Tag.Get("toml"), ","); name == key {
			return out.Field(i)
		}
	}
	panic("no key " + key)
}

// place says where a key belongs that is known elsewhere in the file, "" for none. What is
// appended to a file is in its last section.
func place(key string, here reflect.Type) string {
	for _, p := range []struct {
		keys  reflect.Type
		where string
	}{
		{reflect.TypeFor[file](), "above the first section"},
		{reflect.TypeFor[filePolicy](), "below [policy.NAME], as " + example(reflect.TypeFor[filePolicy]())},
		{reflect.TypeFor[fileGroup](), "below [group.NAME], as " + example(reflect.TypeFor[fileGroup]())},
		{reflect.TypeFor[fileVM](), "below [[vm]]"},
		{reflect.TypeFor[fileDevice](), "below [[device]]"},
		{reflect.TypeFor[fileTest](), "below [[test]]"},
	} {
		if _, known := tomlKeys(p.keys)[key]; known && p.keys != here {
			return ": it belongs " + p.where
		}
	}
	return ""
}

// example gives the header of a section with a name.
func example(section reflect.Type) string {
	if section == reflect.TypeFor[fileGroup]() {
		return "[group.admins]"
	}
	return "[policy." + DefaultPolicy + "]"
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

// meant asks whether a name was meant, "" for none.
func meant(name string) string {
	if name == "" {
		return ""
	}
	return ": did you mean " + strconv.Quote(name) + "?"
}
