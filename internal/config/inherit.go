package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"macvtap-filter/internal/near"
)

// inherit, in a list of a policy, stands for that list of the policy that it builds on.
const inherit = "inherit"

// builtIn is what [policy.default] builds on: the keys that there were before policies built
// on each other, when it was every policy's base. Keys that came later have no other
// meaning to tell of (see changes), and are not in it.
func builtIn() filePolicy {
	text := func(s string) *string { return &s }
	texts := func(all ...string) *[]string { return &all }
	return filePolicy{
		Deny: texts("private", "onlink"), Allow: texts("gateway", "dns", "broadcast"), Serve: texts(), EtherTypes: texts(),
		Spoofing: text("drop"), MACChanges: text("ignore"), Neighbours: text("filter"), Routers: text("drop"),
		Multicast: text("drop"), DHCP: text("client"), Tunnels: text("drop"), Offload: text("check"), IPv6: text("filter"),
		NextHop: text("router"), Learn: text("first"), Isolate: new(bool), GatewayMACs: texts(), Log: new(bool),
	}
}

// A built policy is one with what it has from the policies that it builds on.
type built struct {
	Policy
	learn learning
}

// A builder builds policies, each after the one that it builds on.
type builder struct {
	check checker
	raw   map[string]filePolicy
	group groups
	done  map[string]built
	under []string // being built, each on the next
}

// checkPolicies gives all policies, the default one, which need not be written, included.
func checkPolicies(check checker, raw map[string]filePolicy, g groups) map[string]Policy {
	b := builder{check: check, raw: raw, group: g, done: map[string]built{}}
	out := map[string]Policy{DefaultPolicy: b.policy(DefaultPolicy).Policy}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		out[name] = b.policy(name).Policy
	}
	return out
}

func (b *builder) policy(name string) built {
	if p, ok := b.done[name]; ok {
		return p
	}
	b.under = append(b.under, name)
	p := checkPolicy(b.check, name, b.raw[name], b.base(name), b.group)
	b.under = b.under[:len(b.under)-1]
	b.done[name] = p
	return p
}

// base gives the policy that one builds on. After a mistake it is one that is right, so that
// nothing is reported that is no mistake by itself.
func (b *builder) base(name string) built {
	extends, at := b.raw[name].Extends, "policy."+name+".extends"
	switch {
	case name == DefaultPolicy && extends != nil:
		b.check.add(at, "policy %q: extends = %q: this policy is what the others build on, and builds on the built-in defaults: leave it out", name, *extends)
		fallthrough
	case name == DefaultPolicy:
		return checkPolicy(b.check, name, builtIn(), built{}, nil)
	case extends == nil || *extends == DefaultPolicy:
		return b.policy(DefaultPolicy)
	}
	if _, ok := b.raw[*extends]; !ok {
		known := slices.DeleteFunc(append(slices.Sorted(maps.Keys(b.raw)), DefaultPolicy), func(other string) bool { return other == name })
		b.check.add(at, "policy %q: extends = %q: nobody defines that policy%s", name, *extends, meant(near.Name(*extends, known)))
		return b.policy(DefaultPolicy)
	}
	if n := slices.Index(b.under, *extends); n >= 0 {
		b.check.add(at, "policy %q: extends = %q: policies build on each other in a circle: %s", name, *extends, circle(b.under[n:]))
		return b.policy(DefaultPolicy)
	}
	return b.policy(*extends)
}

// circle shows names of which each leads to the next, and the last to the first.
func circle(names []string) string {
	return strings.Join(append(slices.Clip(names), names[0]), " → ")
}

// said gives what is written, or else what the policy has that this one builds on.
func said[T any](written *T, base T) T {
	if written == nil {
		return base
	}
	return *written
}

// list reads a list of a policy; parse appends what one of its texts stands for.
func list[T any](check checker, at, key string, texts *[]string, base []T, parse func([]T, string) ([]T, error)) []T {
	if texts == nil {
		return base
	}
	var out []T
	for i, text := range *texts {
		var err error
		switch word, rest, _ := strings.Cut(strings.TrimSpace(text), " "); {
		case word != inherit:
			out, err = parse(out, text)
		case rest != "":
			err = fmt.Errorf("%q: %q stands alone, for all of the list that is inherited", text, inherit)
		default:
			out = append(out, base...)
		}
		if err != nil {
			check.add(at+"."+key+"."+strconv.Itoa(i), "%s: %v", key, err)
		}
	}
	return out
}

// one parses texts that stand for one value each.
func one[T any](parse func(string) (T, error)) func([]T, string) ([]T, error) {
	return func(out []T, text string) ([]T, error) {
		value, err := parse(text)
		return append(out, value), err
	}
}

// changes tells what the missing keys of policies stand for since policies build on each
// other, where it is not what they stood for before, the built-in defaults. A policy with
// "extends" or "inherit" was written since.
func changes(check checker, policies map[string]filePolicy) []string {
	if len(policies) < 2 { // default and another
		return nil
	}
	check = check.anew()
	base, before := reflect.ValueOf(policies[DefaultPolicy]), reflect.ValueOf(builtIn())
	for name, p := range policies {
		own := reflect.ValueOf(p)
		if name == DefaultPolicy || p.Extends != nil || slices.Contains(p.texts(), inherit) {
			continue
		}
		for i := range own.NumField() {
			if !own.Field(i).IsNil() || base.Field(i).IsNil() || before.Field(i).IsNil() || same(base.Field(i), before.Field(i)) {
				continue
			}
			key := own.Type().Field(i).Tag.Get("toml")
			check.add("policy."+name, "policy %q: %s is %s, as in [policy.%s]; in earlier versions it was %s, since a key that a policy left out had the built-in default: write %s = %s for that, or extends = %q if the other is meant",
				name, key, asWritten(base.Field(i)), DefaultPolicy, asWritten(before.Field(i)), key, asWritten(before.Field(i)), DefaultPolicy)
		}
	}
	return told(check)
}

// same reports whether two values of a key mean the same: lists have no order.
func same(a, b reflect.Value) bool {
	x, isList := a.Interface().(*[]string)
	if !isList {
		return reflect.DeepEqual(a.Interface(), b.Interface())
	}
	y := b.Interface().(*[]string)
	return slices.Equal(slices.Sorted(slices.Values(*x)), slices.Sorted(slices.Values(*y)))
}

// asWritten gives a key's value as it is written.
func asWritten(v reflect.Value) string {
	switch v := v.Elem().Interface().(type) {
	case string:
		return strconv.Quote(v)
	case []string:
		var quoted []string
		for _, text := range v {
			quoted = append(quoted, strconv.Quote(text))
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	default:
		return fmt.Sprint(v)
	}
}
