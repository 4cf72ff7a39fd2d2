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
	nftaDevicePrefix = 2
)

// setPrefixes binds chains to the prefixes of device names that the library has no
// way to say. The messages hold the chains in their order.
func setPrefixes(messages []netlink.Message, chains []ruleset.Chain) error {
	for i := range messages {
		m := &messages[i]
		if m.Header.Type != netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWCHAIN) {
			continue
		}
		c := chains[0]
		chains = chains[1:]
		if c.Hook == nil || len(c.Hook.Prefixes) == 0 {
			continue
		}
		attributes, err := netlink.UnmarshalAttributes(m.Data[headerSize:])
		if err != nil {
			return fmt.Errorf("chain %q: %w", c.Name, err)
		}
		for j := range attributes {
			if attributes[j].Type == netlink.Nested|unix.NFTA_CHAIN_HOOK {
				attributes[j].Data = append(attributes[j].Data, attribute(netlink.Nested|nftaHookDevs, prefixes(c.Hook.Prefixes))...)
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

func prefixes(all []string) []byte {
	var out []byte
	for _, p := range all {
		out = append(out, attribute(nftaDevicePrefix, cString(p))...)
	}
	return out
}
