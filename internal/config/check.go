package config

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// checker collects what is wrong with a file, so that the first in the file is
// told.
type checker struct {
	file  string
	lines positions
	found *[]problem
}

type problem struct {
	line int
	text string
}

func newChecker(file string, lines positions) checker {
	return checker{file: file, lines: lines, found: new([]problem)}
}

func (c checker) add(at, format string, args ...any) {
	*c.found = append(*c.found, problem{c.lines.line(at), fmt.Sprintf(format, args...)})
}

// first gives the problem that stands first in the file, nil when there is none.
func (c checker) first() error {
	if len(*c.found) == 0 {
		return nil
	}
	p := slices.MinFunc(*c.found, func(a, b problem) int { return a.line - b.line })
	if p.line == 0 {
		return errors.New(c.file + ": " + p.text)
	}
	return fmt.Errorf("%s:%d: %s", c.file, p.line, p.text)
}

func (c *Config) check(check checker, raw *file) {
	if len(raw.Parents) == 0 {
		check.add("parents", "no parents: name the NICs to guard, as in parents = [\"eth0\"]")
	}
	for i, p := range raw.Parents {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			check.add("parents."+strconv.Itoa(i), "parents: %q is no name or glob", p)
		}
	}
	if r := raw.Reconnect; r != nil {
		if *r != "keep" && *r != "kill" {
			check.add("reconnect", "reconnect = %q: want \"keep\" or \"kill\"", *r)
		}
		c.KillOnReconnect = *r == "kill"
	}
	c.policies[DefaultPolicy] = checkPolicy(check, DefaultPolicy, filePolicy{})
	for _, name := range slices.Sorted(maps.Keys(raw.Policy)) {
		c.policies[name] = checkPolicy(check, name, raw.Policy[name])
	}
	for i, v := range raw.VM {
		c.vms = append(c.vms, c.checkVM(check, "vm."+strconv.Itoa(i), v))
	}
}

// validPolicyName holds what may stand bare in TOML, so that a policy's name
// can stand in comments and on command lines.
func validPolicyName(name string) bool {
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_') {
			return false
		}
	}
	return name != "" && len(name) <= 32
}

func checkPolicy(check checker, name string, raw filePolicy) Policy {
	at := "policy." + name
	if !validPolicyName(name) {
		check.add(at, "policy %q: want a name of at most 32 letters, digits, '-' and '_'", name)
	}
	p := Policy{Name: name}
	p.Deny = checkEntries(check, at+".deny", "deny", raw.Deny, defaultDeny)
	p.Allow = checkEntries(check, at+".allow", "allow", raw.Allow, defaultAllow)
	for i, e := range p.Deny {
		if len(e.Services) > 0 {
			check.add(at+".deny."+strconv.Itoa(i), "deny: %q: ports narrow only allow entries; what is denied is denied whole", e)
		}
	}
	return p
}

func checkEntries(check checker, at, key string, written *[]string, otherwise []string) []Entry {
	if written == nil {
		written = &otherwise
	}
	var out []Entry
	for i, text := range *written {
		entry, err := ParseEntry(text)
		if err != nil {
			check.add(at+"."+strconv.Itoa(i), "%s: %v", key, err)
		}
		out = append(out, entry)
	}
	return out
}

func (c *Config) checkVM(check checker, at string, raw fileVM) vm {
	v := vm{policy: DefaultPolicy}
	switch {
	case (raw.Name == nil) == (raw.UUID == nil):
		check.add(at, "[[vm]]: want either name or uuid")
	case raw.Name != nil:
		v.name = *raw.Name
		if _, err := path.Match(v.name, ""); err != nil || v.name == "" {
			check.add(at+".name", "[[vm]]: name = %q is no name or glob", v.name)
		}
	default:
		v.uuid = strings.ToLower(*raw.UUID)
		if len(v.uuid) != 36 {
			check.add(at+".uuid", "[[vm]]: uuid = %q is no UUID, as \"virsh domuuid\" prints one", *raw.UUID)
		}
	}
	if raw.Policy != nil {
		v.policy = *raw.Policy
	}
	if _, ok := c.policies[v.policy]; !ok {
		check.add(at+".policy", "[[vm]]: nobody defines the policy %q: write a section [policy.%s]", v.policy, v.policy)
	}
	return v
}
