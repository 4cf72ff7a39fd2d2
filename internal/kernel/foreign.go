package kernel

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// A Binding is a base chain of somebody else's that sees the frames of a device.
type Binding struct {
	Table, Chain, Device string
}

// Bindings lists the base chains of the family netdev that are not this program's,
// one for each device that they are bound to.
func Bindings(ctx context.Context) ([]Binding, error) {
	r, err := dialReader(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	var all []Binding
	err = retry(ctx, func() error {
		all = nil
		return r.ask(unix.NFT_MSG_GETCHAIN, netlink.Dump, nil, func(b []byte) error {
			all = append(all, foreign(b)...)
			return nil
		})
	})
	return all, err
}

// foreign reads a chain's bindings, none for a chain of this program's.
func foreign(b []byte) []Binding {
	var chain Binding
	var hook []byte
	for kind, value := range attributes(b) {
		switch kind {
		case unix.NFTA_CHAIN_TABLE:
			chain.Table = text(value)
		case unix.NFTA_CHAIN_NAME:
			chain.Chain = text(value)
		case unix.NFTA_CHAIN_HOOK:
			hook = value
		}
	}
	if ours(chain.Table) {
		return nil
	}
	var devices []string
	for kind, value := range attributes(hook) {
		switch kind {
		case unix.NFTA_HOOK_DEV:
			devices = append(devices, text(value))
		case nftaHookDevs:
			for _, name := range attributes(value) {
				devices = append(devices, text(name))
			}
		}
	}
	slices.Sort(devices)
	var out []Binding
	for _, chain.Device = range slices.Compact(devices) {
		out = append(out, chain)
	}
	return out
}

// Foreign parts are chains and sets of the one table that no version of this program puts
// into it.
type foreignParts struct {
	counters []string
	chains   []ruleset.Chain
	sets     []ruleset.Set
}

// foreign gives those that were read.
func (p *picture) foreign() (f foreignParts) {
	if p.isOldGuard() {
		return f
	}
	t := p.table()
	f.counters = t.Counters
	var parts []string
	for _, c := range t.Chains {
		_, base := ruleset.BaseDevice(c.Name)
		part := ruleset.PartName(c.Name)
		if part != "" {
			parts = append(parts, part+"-")
		}
		if c.Hook != nil && !base || c.Hook == nil && part == "" && !ruleset.IsDropChain(c.Name) {
			f.chains = append(f.chains, c)
		}
	}
	for _, s := range t.Sets {
		ofPart := func(part string) bool { return strings.HasPrefix(s.Name, part) }
		if !ruleset.IsOwn(s.Name) && !slices.ContainsFunc(parts, ofPart) {
			f.sets = append(f.sets, s)
		}
	}
	return f
}

// words names them.
func (f foreignParts) words() []string {
	var out []string
	for _, c := range f.counters {
		out = append(out, fmt.Sprintf("counter %s, which is somebody's", c))
	}
	for _, c := range f.chains {
		out = append(out, fmt.Sprintf("chain %s, which is somebody's", c.Name))
	}
	for _, s := range f.sets {
		out = append(out, fmt.Sprintf("set %s, which is somebody's", s.Name))
	}
	return out
}

func (f foreignParts) has(c ruleset.Chain) bool {
	return slices.ContainsFunc(f.chains, func(o ruleset.Chain) bool { return o.Name == c.Name })
}

func (f foreignParts) hasSet(s ruleset.Set) bool {
	return slices.ContainsFunc(f.sets, func(o ruleset.Set) bool { return o.Name == s.Name })
}
