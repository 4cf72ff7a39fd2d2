package kernel

import (
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// Attributes of a chain that is bound to several devices
// (include/uapi/linux/netfilter/nf_tables.h, enum nft_hook_attributes and enum
// nft_devices_attributes; the prefix since Linux 6.17).
const (
	nftaHookDevs     = 4
	nftaDeviceName   = 1
	nftaDevicePrefix = 2
)

// setDevices binds chains to several names of devices, or to prefixes of names, which
// the library has no way to say. The messages hold the chains in their order.
func setDevices(messages []netlink.Message, chains []ruleset.Chain) error {
	for i := range messages {
		m := &messages[i]
		if m.Header.Type != netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWCHAIN) {
			continue
		}
		c := chains[0]
		chains = chains[1:]
		if c.Hook == nil || len(c.Hook.Names)+len(c.Hook.Prefixes) == 0 {
			continue
		}
		attributes, err := netlink.UnmarshalAttributes(m.Data[headerSize:])
		if err != nil {
			return fmt.Errorf("chain %q: %w", c.Name, err)
		}
		for j := range attributes {
			if attributes[j].Type == netlink.Nested|unix.NFTA_CHAIN_HOOK {
				attributes[j].Data = append(attributes[j].Data, attribute(netlink.Nested|nftaHookDevs, devices(*c.Hook))...)
				attributes[j].Length = 0 // it is counted anew
			}
		}
		data, err := netlink.MarshalAttributes(attributes)
		if err != nil {
			return fmt.Errorf("chain %q: %w", c.Name, err)
		}
		m.Data = append(m.Data[:headerSize:headerSize], data...)
	}
	return nil
}

func devices(h ruleset.Hook) []byte {
	var out []byte
	for _, name := range h.Names {
		out = append(out, attribute(nftaDeviceName, cString(name))...)
	}
	for _, p := range h.Prefixes {
		out = append(out, attribute(nftaDevicePrefix, cString(p))...)
	}
	return out
}
