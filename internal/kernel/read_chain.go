package kernel

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/ruleset"
)

// Names that the packages used here do not have
// (include/uapi/linux/netfilter/nf_tables.h, enum nft_chain_attributes and enum
// nft_chain_flags).
const (
	nftaChainFlags = 10
	chainBase      = 1 // every base chain has it
)

// chain reads a chain without its rules.
func (r *reader) chain(b []byte) ruleset.Chain {
	var c ruleset.Chain
	var hook []byte
	policy := ruleset.Drop
	var odd []string
	guard := false
	for kind, value := range attributes(b) {
		switch kind {
		case unix.NFTA_CHAIN_TABLE:
			guard = text(value) == ruleset.GuardTable
		case unix.NFTA_CHAIN_NAME:
			c.Name = text(value)
		case unix.NFTA_CHAIN_HOOK:
			hook = value
		case unix.NFTA_CHAIN_POLICY:
			if number(value) == verdictAccept {
				policy = ruleset.Accept
			}
		case unix.NFTA_CHAIN_TYPE:
			if t := text(value); t != "filter" {
				odd = append(odd, "type "+t)
			}
		case nftaChainFlags:
			if flags := number(value) &^ chainBase; flags != 0 {
				odd = append(odd, fmt.Sprintf("flags %#x", flags))
			}
		}
	}
	if hook != nil {
		h, unknown := r.hook(hook, guard)
		h.Policy = policy
		c.Hook = &h
		odd = append(odd, unknown...)
	}
	c.Unknown = strings.Join(odd, "; ")
	return c
}

// hook reads where a base chain stands, and says what else the hook has. Only the
// guard's is bound to several devices, whether there are such or not.
func (r *reader) hook(b []byte, guard bool) (h ruleset.Hook, odd []string) {
	var devices []string
	for kind, value := range attributes(b) {
		switch kind {
		case unix.NFTA_HOOK_HOOKNUM:
			h.Type = ruleset.Ingress
			if number(value) == unix.NF_NETDEV_EGRESS {
				h.Type = ruleset.Egress
			}
		case unix.NFTA_HOOK_PRIORITY:
			h.Priority = int32(number(value))
		case unix.NFTA_HOOK_DEV: // the same again, when the list has one
			if len(devices) == 0 {
				devices = append(devices, text(value))
			}
		case nftaHookDevs:
			devices = nil
			for kind, value := range attributes(value) {
				if kind == nftaDevicePrefix {
					h.Prefixes = append(h.Prefixes, text(value))
				} else {
					devices = append(devices, text(value))
				}
			}
		}
	}
	if guard && len(devices) > 0 {
		h.Names = devices
		return h, nil
	}
	slices.Sort(devices)
	for _, d := range devices {
		switch {
		case !r.exists(d):
		case h.Device == "" && len(h.Prefixes) == 0:
			h.Device = d
		default:
			odd = append(odd, fmt.Sprintf("device %q, too", d))
		}
	}
	return h, odd
}

// exists reports whether the network namespace has a device of that name
// (netdevice(7), SIOCGIFINDEX).
func (r *reader) exists(device string) bool {
	request, err := unix.NewIfreq(device)
	return err == nil && unix.IoctlIfreq(r.devices, unix.SIOCGIFINDEX, request) == nil
}
