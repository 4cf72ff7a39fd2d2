package config

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"macvtap-filter/internal/near"
	"macvtap-filter/internal/ruleset"
)

// noName is what no device's name holds (Linux net/core/dev.c, dev_valid_name; iproute2
// refuses it in alternative names, too), and maxName is how long an alternative name can
// be in bytes (ALTIFNAMSIZ less the NUL at its end).
const (
	noName  = "/ \t\n\v\f\r\x00\u0085\u00a0"
	maxName = 127
)

// parentProblem says why no NIC can have the name, or a name that the glob matches, "" if
// one can. Such a parent would silently leave the NIC that was meant open.
func parentProblem(p string) string {
	_, err := path.Match(p, "")
	switch {
	case err != nil, p == "", strings.ContainsAny(p, noName):
		return "is no name or glob"
	case p == ".", p == "..":
		return "is the name of a folder, and of no NIC"
	case shortest(p) > maxName:
		return fmt.Sprintf("is longer than any NIC's name, which has at most %d bytes", maxName)
	}
	return ""
}

// shortest is the length in bytes of the shortest names that a right glob matches.
func shortest(glob string) int {
	n := 0
	for i := 0; i < len(glob); i++ {
		switch glob[i] {
		case '*':
			continue
		case '\\':
			i++
		case '[':
			for i++; i < len(glob) && glob[i] != ']'; i++ {
				if glob[i] == '\\' {
					i++
				}
			}
		}
		n++
	}
	return n
}

func (c *Config) check(check checker, raw *file) {
	if len(raw.Parents) == 0 && !check.misplaced["parents"] {
		check.add("parents", "no parents: name the NICs to guard, as in parents = [\"eth0\"]")
	}
	for i, p := range raw.Parents {
		if problem := parentProblem(p); problem != "" {
			check.add("parents."+strconv.Itoa(i), "parents: %q %s", p, problem)
		}
	}
	if r := raw.Reconnect; r != nil {
		if *r != "keep" && *r != "kill" {
			check.add("reconnect", "reconnect = %q: want \"keep\" or \"kill\"", *r)
		}
		c.KillOnReconnect = *r == "kill"
	}
	if m := raw.Metadata; m != nil {
		if *m != "ignore" && *m != "honour" {
			check.add("metadata", "metadata = %q: want \"ignore\" or \"honour\"", *m)
		}
		c.HonourMetadata = *m == "honour"
	}
	c.checkGuard(check, raw)
	if h := raw.HotPlug; h != nil {
		if *h != "close" && *h != "refuse" {
			check.add("hotplug", "hotplug = %q: want \"close\" or \"refuse\"", *h)
		}
		c.RefusePlugs = *h == "refuse"
	}
	if l := raw.Listen; l != nil {
		var err error
		if c.Listen, err = ParseListen(*l); err != nil {
			check.add("listen", "listen = %v", err)
		}
	}
	c.groups = checkGroups(check, raw.Group)
	c.policies = checkPolicies(check, raw.Policy, c.groups)
	for i, v := range raw.VM {
		c.vms = append(c.vms, c.checkVM(check, "vm."+strconv.Itoa(i), v))
	}
	for i, d := range raw.Device {
		c.devices = append(c.devices, c.checkDevice(check, "device."+strconv.Itoa(i), d))
	}
	for i, t := range raw.Test {
		c.tests = append(c.tests, c.checkTest(check, "test."+strconv.Itoa(i), t))
	}
}

// defaultPrefixes are the names that libvirt gives macvtap devices by itself
// (src/util/virnetdevmacvlan.h, VIR_NET_GENERATED_MACVTAP_PREFIX).
var defaultPrefixes = []string{"macvtap"}

func (c *Config) checkGuard(check checker, raw *file) {
	c.Guard = raw.Guard != nil && *raw.Guard
	c.OpenOthers = true
	if o := raw.Others; o != nil {
		if *o != "pass" && *o != "drop" {
			check.add("guard_others", "guard_others = %q: want \"pass\" or \"drop\"", *o)
		}
		c.OpenOthers = *o == "pass"
	}
	c.GuardPrefixes = slices.Clone(defaultPrefixes)
	if raw.Prefixes == nil {
		return
	}
	c.GuardPrefixes = *raw.Prefixes
	if len(c.GuardPrefixes) == 0 {
		check.add("guard_prefixes", "guard_prefixes: no prefixes: the guard would close nothing; guard = false says that")
	}
	for i, p := range c.GuardPrefixes {
		at := "guard_prefixes." + strconv.Itoa(i)
		if !ruleset.ValidDevice(p) {
			check.add(at, "guard_prefixes: %q is not what the name of a device can begin with", p)
		}
		for j, other := range c.GuardPrefixes {
			// The kernel takes no device twice.
			if other != "" && strings.HasPrefix(p, other) && (p != other || j < i) && i != j {
				check.add(at, "guard_prefixes: every name that begins with %q begins with %q: leave one out", p, other)
				break
			}
		}
	}
}

// validPolicyName holds what may stand bare in TOML, so that a policy's name
// can stand in comments and on command lines.
func validPolicyName(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	return name != "" && len(name) <= 32 && strings.Trim(name, letters) == ""
}

func checkPolicy(check checker, name string, raw filePolicy, base built, g groups) built {
	at := "policy." + name
	if !validPolicyName(name) {
		check.add(at, "policy %q: want a name of at most 32 letters, digits, '-' and '_'", name)
	}
	p := Policy{Name: name, Rules: checkRules(check, at, raw, base.Rules)}
	p.Deny = list(check, at, "deny", raw.Deny, base.Deny, g.denied)
	p.Allow = list(check, at, "allow", raw.Allow, base.Allow, g.entries)
	p.Inbound = checkOpenings(check, at, "inbound", raw.Inbound, base.Inbound, g)
	p.Outbound = checkOpenings(check, at, "outbound", raw.Outbound, base.Outbound, g)
	learn := checkLearn(check, at, raw, p.Rules, base.learn)
	p.Learn = learn.how
	return built{p, learn}
}

// uuid is the form in which libvirt writes UUIDs. In another form one would match
// no VM, and the VM that was meant would silently have the default policy.
// Few configurations have one, and a hook that starts does not wait for the pattern.
var uuid = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
})

// limitedBroadcast is every host's address (RFC 919).
var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// add takes in an entry of a VM's addresses: an address, a prefix, or a word.
func (o *Own) add(text string) error {
	switch {
	case text == "dhcp":
		o.DHCP = true
		return nil
	case text == "slaac":
		o.SLAAC = true
		return nil
	case strings.Contains(text, "/"):
		r, err := parsePrefix(text)
		if err != nil {
			return err
		}
		p, _ := r.Prefix() // it was one
		if p.Bits() == 0 || !mayHave(p.Addr()) {
			return fmt.Errorf("%q holds no addresses that a VM can have", text)
		}
		if p.IsSingleIP() {
			o.Addresses = append(o.Addresses, p.Addr())
		} else {
			o.Prefixes = append(o.Prefixes, p)
		}
		return nil
	}
	address, err := parseAddr(text)
	if err != nil {
		return fmt.Errorf("%w: want an address, a prefix, \"dhcp\" or \"slaac\"%s", err, meant(near.Name(text, []string{"dhcp", "slaac"})))
	}
	if !mayHave(address) {
		return fmt.Errorf("%q is no address that a VM can have", text)
	}
	o.Addresses = append(o.Addresses, address)
	return nil
}

// mayHave reports whether a host can have an address.
func mayHave(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a != limitedBroadcast
}

// checkMatch reads which interfaces a section is for.
func checkMatch(check checker, at string, raw fileVM) match {
	var m match
	if raw.Name == nil && raw.UUID == nil && raw.MAC == nil && raw.Parent == nil && raw.Interface == nil {
		check.add(at, "[[vm]]: which VMs? want one or more of name, uuid, mac, parent and interface")
	}
	if raw.Name != nil {
		m.name = *raw.Name
		if _, err := path.Match(m.name, ""); err != nil || m.name == "" {
			check.add(at+".name", "[[vm]]: name = %q is no name or glob", m.name)
		}
	}
	if raw.UUID != nil {
		m.uuid = strings.ToLower(*raw.UUID)
		if !uuid().MatchString(m.uuid) {
			check.add(at+".uuid", "[[vm]]: uuid = %q is no UUID, as \"virsh domuuid\" prints one", *raw.UUID)
		}
	}
	if raw.MAC != nil {
		m.mac = checkMAC(check, at+".mac", "[[vm]]", *raw.MAC)
	}
	if raw.Parent != nil {
		m.parent = *raw.Parent
		if problem := parentProblem(m.parent); problem != "" {
			check.add(at+".parent", "[[vm]]: parent = %q %s", m.parent, problem)
		}
	}
	if raw.Interface != nil {
		m.place = *raw.Interface
		if m.place < 1 {
			check.add(at+".interface", "[[vm]]: interface = %d: the first of a VM's interfaces is 1", m.place)
		}
	}
	return m
}

// checkMAC reads an interface's MAC address, and writes it as net does.
func checkMAC(check checker, at, section, written string) string {
	mac, err := net.ParseMAC(written)
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 {
		check.add(at, "%s: mac = %q is no MAC address that an interface can have", section, written)
	}
	return mac.String()
}

func (c *Config) checkVM(check checker, at string, raw fileVM) vm {
	return vm{
		match:  checkMatch(check, at, raw),
		policy: c.checkChosen(check, at, "[[vm]]", raw.Policy),
		own:    c.checkOwn(check, at, "[[vm]]", raw.Addresses),
	}
}

// checkChosen reads the policy that a section gives.
func (c *Config) checkChosen(check checker, at, section string, written *string) string {
	if written == nil {
		return DefaultPolicy
	}
	name := *written
	if _, ok := c.policies[name]; !ok && !validPolicyName(name) {
		check.add(at+".policy", "%s: policy = %q: want a policy's name, as in [policy.NAME]", section, name)
	} else if !ok {
		remedy := cmp.Or(meant(near.Name(name, slices.Sorted(maps.Keys(c.policies)))), fmt.Sprintf(": write a section [policy.%s]", name))
		check.add(at+".policy", "%s: nobody defines the policy %q%s", section, name, remedy)
	}
	return name
}

// checkOwn reads the addresses that a section names.
func (c *Config) checkOwn(check checker, at, section string, written []string) Own {
	var own Own
	for i, text := range written {
		if err := c.groups.own(&own, text); err != nil {
			check.add(at+".addresses."+strconv.Itoa(i), "%s: addresses: %v", section, err)
		}
	}
	return own
}
