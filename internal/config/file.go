package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// file is the configuration as it is written; reference.toml documents it.
type file struct {
	Parents   []string              `toml:"parents"`
	Reconnect *string               `toml:"reconnect"`
	Metadata  *string               `toml:"metadata"`
	Guard     *bool                 `toml:"guard"`
	Prefixes  *[]string             `toml:"guard_prefixes"`
	Others    *string               `toml:"guard_others"`
	Listen    *string               `toml:"listen"`
	Policy    map[string]filePolicy `toml:"policy"`
	VM        []fileVM              `toml:"vm"`
}

type filePolicy struct {
	Deny        *[]string `toml:"deny"`
	Allow       *[]string `toml:"allow"`
	Serve       []string  `toml:"serve"`
	EtherTypes  []string  `toml:"ethertypes"`
	Spoofing    *string   `toml:"spoofing"`
	MACChanges  *string   `toml:"mac_changes"`
	Neighbours  *string   `toml:"neighbours"`
	Routers     *string   `toml:"routers"`
	Multicast   *string   `toml:"multicast"`
	DHCP        *string   `toml:"dhcp"`
	Tunnels     *string   `toml:"tunnels"`
	Offload     *string   `toml:"offload"`
	IPv6        *string   `toml:"ipv6"`
	NextHop     *string   `toml:"next_hop"`
	Learn       *string   `toml:"learn"`
	Isolate     *bool     `toml:"isolate"`
	GatewayMACs []string  `toml:"gateway_macs"`
	Log         *bool     `toml:"log"`
}

type fileVM struct {
	Name   *string `toml:"name"`
	UUID   *string `toml:"uuid"`
	MAC    *string `toml:"mac"`
	Parent *string `toml:"parent"`
	Policy *string `toml:"policy"`

	Interface *int `toml:"interface"`

	Addresses []string `toml:"addresses"`
}

// decode reads the file's text; what is wrong with it goes to the checker, or,
// when it is no TOML at all, is the error.
func decode(check checker, text []byte) (*file, error) {
	var tree map[string]any
	var bad *toml.DecodeError
	err := toml.Unmarshal(text, &tree)
	if errors.As(err, &bad) {
		line, _ := bad.Position()
		return nil, fmt.Errorf("%s:%d: %s", check.file, line, strings.TrimPrefix(bad.Error(), "toml: "))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", check.file, err)
	}
	check.shape("", "", tree, reflect.TypeFor[file]())
	if err := check.first(); err != nil {
		return nil, err
	}
	var f file
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&f); err != nil {
		return nil, fmt.Errorf("%s: %w", check.file, err)
	}
	return &f, nil
}

// positions maps the path of a value, as in "policy.dmz.deny.2" or
// "vm.0.policy", to the offset in the file's text where it begins.
type positions map[string]int

// locate finds where every value begins in a text that is known to be TOML.
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
			out.add(table, e.Key())
		case unstable.ArrayTable:
			arrays[strings.Join(key, ".")]++
			table = index(key, arrays)
			out.add(table, e.Key())
		case unstable.KeyValue:
			path := append(append([]string(nil), table...), key...)
			out.add(path, e.Key())
			out.value(path, e.Value())
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

// add notes where a key begins, and the tables around it that have no place of
// their own, as policy in [policy.dmz].
func (l positions) add(path []string, key unstable.Iterator) {
	if key.Next() {
		l.addAt(path, int(key.Node().Raw.Offset))
	}
}

func (l positions) addAt(path []string, offset int) {
	for i := range path {
		around := strings.Join(path[:i+1], ".")
		if _, known := l[around]; !known {
			l[around] = offset
		}
	}
}

// value notes where the elements below a value begin.
func (l positions) value(path []string, v *unstable.Node) {
	switch v.Kind {
	case unstable.Array:
		n := 0
		for it := v.Children(); it.Next(); n++ {
			below := append(append([]string(nil), path...), strconv.Itoa(n))
			if raw := it.Node().Raw; raw.Length > 0 {
				l.addAt(below, int(raw.Offset))
			}
			l.value(below, it.Node())
		}
	case unstable.InlineTable:
		for it := v.Children(); it.Next(); {
			below := append(append([]string(nil), path...), keyOf(it.Node())...)
			l.add(below, it.Node().Key())
			l.value(below, it.Node().Value())
		}
	}
}

// offset gives where the value at a path begins, or the nearest thing around it
// does; -1 when there is none.
func (l positions) offset(path string) int {
	for {
		if n, ok := l[path]; ok {
			return n
		}
		dot := strings.LastIndexByte(path, '.')
		if dot < 0 {
			return -1
		}
		path = path[:dot]
	}
}
