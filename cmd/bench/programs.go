// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/bench"
	"macvtap-filter/internal/lab"
)

// Programs are the road not taken: the heart of the default policy as a filter of
// traffic control in BPF, which needs no nftables. They do what costs most: the peer's
// address looked up in a tree of denied prefixes and, if it is there, in a hash of
// allowed hosts; the kind of frame; the source MAC address; the addresses inside ARP.
// They do not look at tunnels, ICMP errors, DHCP, neighbour discovery, router
// advertisements, multicast, fragments, ports, sources that nobody may claim, nor at
// what a guest leaves to its host, and they count nothing. So what they take is the
// least that such a filter would.
type programs struct {
	maps []*ebpf.Map
	ways map[bench.Way]*ebpf.Program
}

// denied are what the default policy denies, at the site.
var denied = []netip.Prefix{
	netip.MustParsePrefix("192.168.0.0/16"), hypervisor4.Masked(), hypervisor6.Masked(),
	netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("fc00::/7"),
}

// newPrograms has the kernel load the programs for a VM, with hosts that are allowed
// besides. The caller closes them.
func newPrograms(tap *lab.Tap, allowed []netip.Addr) (*programs, error) {
	p := &programs{ways: map[bench.Way]*ebpf.Program{}}
	if err := p.load(tap.MAC, allowed); err != nil {
		return nil, errors.Join(fmt.Errorf("load a program of traffic control: %w", err), p.close())
	}
	return p, nil
}

func (p *programs) load(mac net.HardwareAddr, allowed []netip.Addr) error {
	var tables [2]lookups // of IPv4, and of IPv6
	for i, size := range []uint32{4, 16} {
		tree, err := p.add(ebpf.MapSpec{Type: ebpf.LPMTrie, KeySize: 4 + size, ValueSize: 1, MaxEntries: 64, Flags: unix.BPF_F_NO_PREALLOC})
		if err != nil {
			return err
		}
		hash, err := p.add(ebpf.MapSpec{Type: ebpf.Hash, KeySize: size, ValueSize: 1, MaxEntries: uint32(len(allowed) + 1)})
		if err != nil {
			return err
		}
		tables[i] = lookups{denied: tree, allowed: hash, size: int32(size)}
	}
	for _, prefix := range denied {
		key := binary.NativeEndian.AppendUint32(nil, uint32(prefix.Bits()))
		if err := tables[family(prefix.Addr())].denied.Put(append(key, prefix.Addr().AsSlice()...), []byte{1}); err != nil {
			return err
		}
	}
	for _, address := range allowed {
		if err := tables[family(address)].allowed.Put(address.AsSlice(), []byte{1}); err != nil {
			return err
		}
	}
	for _, way := range []bench.Way{bench.FromVM, bench.ToVM} {
		program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Name: "bench", Type: ebpf.SchedCLS, License: "GPL", Instructions: judge(way, mac, tables[0], tables[1]),
		})
		if err != nil {
			return err
		}
		p.ways[way] = program
	}
	return nil
}

func (p *programs) add(spec ebpf.MapSpec) (*ebpf.Map, error) {
	m, err := ebpf.NewMap(&spec)
	if err == nil {
		p.maps = append(p.maps, m)
	}
	return m, err
}

func family(a netip.Addr) int {
	if a.Is6() {
		return 1
	}
	return 0
}

// lookups are where the addresses of a family, of so many bytes, are looked up.
type lookups struct {
	denied, allowed *ebpf.Map
	size            int32
}

// Places in frames, in bytes.
const (
	sourceMAC = 6
	etherType = 12
	network   = 14

	ipv4Source, ipv4Destination = network + 12, network + 16
	ipv6Source, ipv6Destination = network + 8, network + 24
	arpSenderMAC                = network + 8
	arpSender, arpTarget        = network + 14, network + 24
)

// judge is the program for a way.
func judge(way bench.Way, mac net.HardwareAddr, v4, v6 lookups) asm.Instructions {
	const pass, shot = 0, 2            // TC_ACT_OK, TC_ACT_SHOT
	const skbData, skbDataEnd = 76, 80 // offsets in struct __sk_buff
	frame, end := asm.R7, asm.R8       // where the frame is, and what is behind it
	at4, at6, atARP := ipv4Source, ipv6Source, arpSender
	if way == bench.FromVM {
		at4, at6, atARP = ipv4Destination, ipv6Destination, arpTarget
	}
	reaches := func(length int32) asm.Instructions { // or the frame is dropped
		return asm.Instructions{
			asm.Mov.Reg(asm.R2, frame), asm.Add.Imm(asm.R2, length), asm.JGT.Reg(asm.R2, end, "drop"),
		}
	}
	isVMs := func(at int16) asm.Instructions {
		return asm.Instructions{
			asm.LoadMem(asm.R2, frame, at, asm.Word),
			asm.JNE.Imm32(asm.R2, int32(binary.NativeEndian.Uint32(mac)), "drop"),
			asm.LoadMem(asm.R2, frame, at+4, asm.Half),
			asm.JNE.Imm32(asm.R2, int32(binary.NativeEndian.Uint16(mac[4:])), "drop"),
		}
	}
	is := func(kind uint16, to string) asm.Instruction {
		return asm.JEq.Imm32(asm.R3, int32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, kind))), to)
	}
	var p asm.Instructions
	p = append(p,
		asm.LoadMem(frame, asm.R1, skbData, asm.Word),
		asm.LoadMem(end, asm.R1, skbDataEnd, asm.Word),
	)
	p = append(p, reaches(network)...)
	if way == bench.FromVM {
		p = append(p, isVMs(sourceMAC)...)
	}
	p = append(p,
		asm.LoadMem(asm.R3, frame, etherType, asm.Half),
		is(unix.ETH_P_IP, "ipv4"), is(unix.ETH_P_IPV6, "ipv6"), is(unix.ETH_P_ARP, "arp"),
		asm.Ja.Label("drop"),
	)
	p = append(p, labelled("ipv4", reaches(network+20))...)
	p = append(p, v4.copyAddress(frame, int16(at4))...)
	p = append(p, asm.Ja.Label("look4"))
	p = append(p, labelled("arp", reaches(network+28))...)
	if way == bench.FromVM {
		p = append(p, isVMs(arpSenderMAC)...)
	}
	p = append(p, v4.copyAddress(frame, int16(atARP))...)
	p = append(p, labelled("look4", v4.look())...)
	p = append(p, labelled("ipv6", reaches(network+40))...)
	p = append(p, v6.copyAddress(frame, int16(at6))...)
	p = append(p, v6.look()...)
	return append(p,
		asm.Mov.Imm(asm.R0, pass).WithSymbol("pass"), asm.Return(),
		asm.Mov.Imm(asm.R0, shot).WithSymbol("drop"), asm.Return(),
	)
}

func labelled(label string, p asm.Instructions) asm.Instructions {
	p[0] = p[0].WithSymbol(label)
	return p
}

// copyAddress makes, at the end of the stack, the key of the tree out of an address
// in the frame.
func (l lookups) copyAddress(frame asm.Register, at int16) asm.Instructions {
	p := asm.Instructions{asm.StoreImm(asm.RFP, -int16(l.size)-4, int64(l.size)*8, asm.Word)}
	for i := int16(0); i < int16(l.size); i += 4 {
		p = append(p, asm.LoadMem(asm.R2, frame, at+i, asm.Word), asm.StoreMem(asm.RFP, i-int16(l.size), asm.R2, asm.Word))
	}
	return p
}

// look lets pass what is not denied, or is allowed, and drops the rest.
func (l lookups) look() asm.Instructions {
	return asm.Instructions{
		asm.LoadMapPtr(asm.R1, l.denied.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -l.size-4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"),
		asm.LoadMapPtr(asm.R1, l.allowed.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -l.size),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "drop"),
		asm.Ja.Label("pass"),
	}
}

// attach has the programs judge a device's frames, in the network namespace of the
// calling thread.
func (p *programs) attach(tap *lab.Tap) error {
	return withLinks(func(links *netlink.Handle) error {
		if err := links.QdiscAdd(clsact(tap.Index)); err != nil {
			return os.NewSyscallError("add the qdisc clsact", err)
		}
		for way, parent := range map[bench.Way]uint32{bench.FromVM: netlink.HANDLE_MIN_EGRESS, bench.ToVM: netlink.HANDLE_MIN_INGRESS} {
			filter := &netlink.BpfFilter{
				FilterAttrs: netlink.FilterAttrs{LinkIndex: tap.Index, Parent: parent, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL},
				Fd:          p.ways[way].FD(), Name: "bench", DirectAction: true,
			}
			if err := links.FilterAdd(filter); err != nil {
				return os.NewSyscallError("add a tc filter", err)
			}
		}
		return nil
	})
}

// detachPrograms takes all programs off a device, ours too.
func detachPrograms(tap *lab.Tap) error {
	return withLinks(func(links *netlink.Handle) error {
		err := links.QdiscDel(clsact(tap.Index))
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
			return nil // there is none
		}
		return os.NewSyscallError("delete the qdisc clsact", err)
	})
}

func clsact(device int) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: device, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
}

func withLinks(do func(*netlink.Handle) error) error {
	links, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer links.Close()
	return do(links)
}

func (p *programs) close() error {
	var errs []error
	for _, program := range p.ways {
		errs = append(errs, program.Close())
	}
	for _, m := range p.maps {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
