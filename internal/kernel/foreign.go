package kernel

import (
	"context"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
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
