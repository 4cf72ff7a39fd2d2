// Package config reads the configuration file, and those in the folder beside it: which NICs are guarded, which
// policies there are, and which VM has which. It is strict: what it does not
// understand is an error with its line, never a guess. It reads nothing off the
// host; a policy's words stay words here.
package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
)

// DefaultFile is where the configuration is unless --config or Variable say
// otherwise.
const DefaultFile = "/etc/macvtap-filter/config.toml"

// Variable is the environment variable that names another configuration file.
const Variable = "MACVTAP_FILTER_CONFIG"

// DefaultPolicy is the policy of a VM that no [[vm]] matches. It need not be
// written: it has the safe defaults then.
const DefaultPolicy = "default"

// A Config is a configuration file that was found right.
type Config struct {
	File    string   // for messages
	Files   []string // all that it was read from, File first
	Parents []string // names, alternative names or globs of NICs

	// KillOnReconnect says that a hook failure while libvirtd reconnects to a
	// running VM is reported to libvirtd, which then kills the VM.
	KillOnReconnect bool

	// HonourMetadata says that a domain's <metadata> may choose its policy and
	// add to what it allows.
	HonourMetadata bool

	// Guard says that macvtap devices whose names begin with one of
	// GuardPrefixes are closed until rules of their own stand. OpenOthers has
	// those on NICs that are no parents get rules that let everything pass.
	Guard         bool
	GuardPrefixes []string
	OpenOthers    bool

	// RefusePlugs says that no NIC of a network is plugged into a running VM where nothing
	// would close it until its rules stand.
	RefusePlugs bool

	// Listen is where watch has its figures read.
	Listen Listen

	// Warnings are what is right and hardly meant, each with its line.
	Warnings []string

	// Changes are what a policy's missing keys stand for that before policies built on
	// each other stood for something else, each with its line.
	Changes []string

	first    map[string]int // where there are several Files: the one that has a key
	policies map[string]Policy
	groups   groups
	vms      []vm
	devices  []device
	tests    []Test
	text     Text
	checker  checker                       // of the same text
	raw      *file                         // for Written
	where    func() func(at string) string // the file and line of what stands at a path (see places)
}

// A Policy is what its [policy.NAME] section says, and what the VM's own section
// adds.
type Policy struct {
	Name    string
	Section int // that gave it to an interface, by its place among the [[vm]], from 1; 0 for none
	Deny    []Entry
	Allow   []Entry

	// Inbound is what peers that are not denied may open on the VM, and Outbound what the VM
	// may open.
	Inbound, Outbound Openings

	Rules
}

// Rules are the parts of a policy that need no facts to be understood. The zero
// value is the strictest.
type Rules struct {
	Serve      []Service // of the VM: denied peers may open these, and the VM answer
	EtherTypes []uint16  // passed beside IPv4, IPv6 and ARP

	PassSpoofing   bool // source addresses that are not the VM's own
	PassNeighbours bool // ARP and neighbour discovery with anybody, about anything
	PassRouters    bool // router advertisements and redirects from the VM
	PassMulticast  bool // multicast and broadcast from the VM
	PassDHCPServer bool // DHCP and DHCPv6 server messages from the VM
	PassTunnels    bool // IP in IP, GRE and the like, 6to4 and NAT64 addresses
	FollowMAC      bool // the MAC address that the guest gives its device is its own
	PassOffload    bool // frames that the host changes, at the VM's request, behind the rules
	DropIPv6       bool // all of IPv6
	Log            bool // dropped frames, at a limited rate

	// AnyNextHop has frames to addresses beyond the link go to any MAC address, not to
	// routers' only.
	AnyNextHop bool

	// Max bounds what a NIC sends.
	Max Rates

	// Isolate keeps unicast frames to and from the gateways' MAC addresses:
	// those in GatewayMACs or, when there are none, those among the facts.
	Isolate     bool
	GatewayMACs []net.HardwareAddr

	// Learn says how the VM's own addresses are learned of a family of which Own says
	// nothing.
	Learn Learn

	// Own is what the VM's [[vm]] section says of its own addresses.
	Own
}

// Own says which addresses are a VM's own. A family of which it says nothing is as Learn has
// it.
type Own struct {
	Addresses []netip.Addr
	Prefixes  []netip.Prefix // each of more than one address; none takes a gateway's or an allowed host's away
	DHCP      bool           // IPv4 addresses that a DHCP server hands out to it
	SLAAC     bool           // IPv6 addresses that it probes for
}

// Names reports whether a family, of 4 or of 16 bytes an address, is spoken of.
func (o Own) Names(ipv4 bool) bool {
	return slices.ContainsFunc(o.Addresses, func(a netip.Addr) bool { return a.Is4() == ipv4 }) ||
		slices.ContainsFunc(o.Prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() == ipv4 }) || ipv4 && o.DHCP || !ipv4 && o.SLAAC
}

// Learn is how the VM's own addresses are learned.
type Learn int

// The ways: not at all; by DHCP, and IPv6 by the VM's probes; and, where there is no DHCP,
// the first IPv4 address that the VM uses.
const (
	LearnOff Learn = iota
	LearnDHCP
	LearnFirst
)

type vm struct {
	match
	policy string
	own    Own
}

// Load reads and checks a configuration file, and those beside it. What is wrong with their
// text is an *Error.
func Load(file string) (*Config, error) {
	text, err := Read(file)
	if err != nil {
		return nil, err
	}
	return text.Parse()
}

// maxSize bounds a configuration file in bytes: some hundred thousand entries.
const maxSize = 16 << 20

// read reads a regular file: libvirt waits for a hook call, and a pipe or device
// might never end.
func read(file string) ([]byte, error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", file)
	case info.Size() > maxSize:
		return nil, fmt.Errorf("%s is larger than %d MiB", file, maxSize>>20)
	}
	return os.ReadFile(file)
}

// Parse checks the text of a configuration file alone; file is its name in messages.
func Parse(file string, content []byte) (*Config, error) {
	return Text{[]*source{newSource(file, content)}}.Parse()
}

// Parse checks what was read.
func (t Text) Parse() (*Config, error) {
	check := newChecker(t.sources...)
	raw, err := decode(check)
	if err != nil {
		return nil, err
	}
	c := &Config{File: t.Files()[0], Files: t.Files(), Parents: raw.Parents}
	c.check(check, raw)
	if err := check.err(); err != nil {
		return nil, err
	}
	c.raw, c.text, c.checker, c.where, c.first = raw, t, check, check.places, check.first
	c.Warnings = c.warn(check, raw)
	c.Changes = changes(check, raw.Policy)
	return c, nil
}

// FileOf gives the file in which a key stands, or in which it may best be written.
func (c *Config) FileOf(key string) string {
	if i, several := c.first[key]; several {
		return c.Files[i]
	}
	return c.File
}

// Policy gives the policy of a VM's interface: that of the first [[vm]] that matches
// it, or else the one named DefaultPolicy.
func (c *Config) Policy(n NIC) Policy {
	for i, v := range c.vms {
		if v.matches(n) {
			p := c.policies[v.policy]
			p.Own, p.Section = v.own, i+1
			return p
		}
	}
	return c.policies[DefaultPolicy]
}

// Default gives the policy of a VM that nothing is known of.
func (c *Config) Default() Policy { return c.policies[DefaultPolicy] }

// Choose gives a VM's policy as its domain's metadata has it: another policy, when
// one is named, and more allow entries. The VM's addresses stay.
func (c *Config) Choose(p Policy, name string, allow []string) (Policy, error) {
	if name != "" {
		chosen, ok := c.policies[name]
		if !ok {
			return p, fmt.Errorf("metadata: the policy %q is not defined in %s", name, c.File)
		}
		chosen.Own, chosen.Section = p.Own, p.Section
		p = chosen
	}
	p.Allow = slices.Clone(p.Allow)
	for _, text := range allow {
		var err error
		if p.Allow, err = c.groups.entries(p.Allow, text); err != nil {
			return p, fmt.Errorf("metadata: allow: %w", err)
		}
	}
	return p, nil
}

// GuardsName reports whether a device of that name is one that the guard closes.
func (c *Config) GuardsName(device string) bool {
	return slices.ContainsFunc(c.GuardPrefixes, func(prefix string) bool { return strings.HasPrefix(device, prefix) })
}

// GuardsParent reports whether one of a NIC's names is one of the parents.
func (c *Config) GuardsParent(names ...string) bool {
	return slices.ContainsFunc(c.Parents, func(pattern string) bool {
		return slices.ContainsFunc(names, func(name string) bool {
			matched, _ := path.Match(pattern, name) // the pattern was checked
			return matched
		})
	})
}

// Literals gives the parents that are names, and no globs: each is meant to be a NIC of
// this host.
func (c *Config) Literals() []string {
	var out []string
	for _, p := range c.Parents {
		if !strings.ContainsAny(p, `*?[\`) {
			out = append(out, p)
		}
	}
	return out
}

// Policies gives all policies, sorted by name, the default one included.
func (c *Config) Policies() []Policy {
	var out []Policy
	for _, name := range slices.Sorted(maps.Keys(c.policies)) {
		out = append(out, c.policies[name])
	}
	return out
}
