// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only

package offload

import (
	"fmt"
	"hash/fnv"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// prefix begins the name of every version of the program, and of no other program,
// as "bpftool net" and "tc filter" show it. The rest tells the versions apart.
const prefix = "mvfilter_"

var name = sync.OnceValue(func() string {
	hash := fnv.New32a()
	for _, asks := range [][]instruction{copyFrame(), castFrame(0)} {
		_, _ = hash.Write(assemble(instructions(0, asks))) // which cannot fail
	}
	return fmt.Sprintf("%s%06x", prefix, hash.Sum32()>>8)
})

// counterName is the name of the array that counts the dropped frames.
const counterName = "mvfilter_drops"

// Offsets in a struct __sk_buff, and the kernel's functions that the program calls
// (include/uapi/linux/bpf.h).
const (
	skbLength      = 0
	skbProtocol    = 16
	skbData        = 76
	skbDataEnd     = 80
	skbSegmentSize = 176 // gso_size

	probeReadKernel = 113
)

// copied is how much of struct sk_buff the program copies, in bytes: the fields that
// it reads are in it on every kernel, or the kernel refuses the program.
const copied = 224

// checksumPartial is what sk_buff.ip_summed says of a frame in which a sum is to be
// stored (include/linux/skbuff.h).
const checksumPartial = 3

// What the program answers: that the next one is asked, or that the frame is
// dropped (include/uapi/linux/pkt_cls.h and bpf.h, TCX_NEXT and TCX_DROP).
const (
	next = -1
	shot = 2
)

// Lengths of headers, and where in a header of a transport protocol the checksum
// is, in bytes.
const (
	ethernet   = 14
	ipv4Header = 20 // without options
	ipv6Header = 40

	tcpChecksum = 16
	udpChecksum = 6
	portsEnd    = 4

	longest = 1<<16 - 1 // packet that IPv4 has a length for
)

// The ports of DHCP servers. What a client says to one, the rules judge.
const (
	dhcpServer   = 67
	dhcpv6Server = 547
)

// anywhere is behind all places of a frame.
const anywhere = 1 << 20

// Protocols above IP, extension headers of IPv6 among them (IANA's protocol
// numbers).
const (
	hopByHop   = 0
	icmp       = 1
	igmp       = 2
	tcp        = 6
	udp        = 17
	routing    = 43
	fragment   = 44
	authentic  = 51
	icmpv6     = 58
	dstOptions = 60
	sctp       = 132
)

// instructions are what runs for each frame that the rules let pass; counter is the
// descriptor of the array in which it counts what it drops, and asks are the
// instructions that leave in r1 where a struct sk_buff of the frame's is.
//
// A frame is dropped that is not what the rules took it for, that is to be cut into
// pieces which the rules have not judged, or in which a sum is still to be stored
// over, or before, anything that they have. Of sums no field of __sk_buff tells, which
// programs are to go by.
func instructions(counter int, asks []instruction) []instruction {
	return slices.Concat([]instruction{
		// A tap has the whole Ethernet header where it can be read directly
		// (drivers/net/tap.c, tap_get_user).
		move(ctx, r1),
		load(size32, frame, ctx, skbData),
		load(size32, end, ctx, skbDataEnd),
		move(r4, frame),
		calculate(unix.BPF_ADD, r4, ethernet),
		jumpIf(unix.BPF_JGT, r4, end, "drop"),
		load(size16, etherType, frame, 12),

		// The rules go by the protocol that the kernel calls the frame, which is
		// its EtherType, unless the guest asks to cut up one without sums:
		// then EtherType 0 becomes IPv4 or IPv6 (include/linux/virtio_net.h,
		// virtio_net_hdr_to_skb).
		load(size32, r5, ctx, skbProtocol),
		jumpIf(unix.BPF_JNE, r5, etherType, "drop"),

		// Is it to be cut up? TCP's segments each have the header that the rules
		// judged. A fragment is nothing to be cut up: UFO writes the offset of each
		// piece anew, and makes the first one of what the rules took for a later one
		// (net/ipv4/af_inet.c, inet_gso_segment).
		load(size32, r5, ctx, skbSegmentSize),
		jump(unix.BPF_JEQ, r5, 0, "whole"),
		jump(unix.BPF_JEQ, etherType, inNetworkOrder(unix.ETH_P_IPV6), "cut6"),
		jump(unix.BPF_JNE, etherType, inNetworkOrder(unix.ETH_P_IP), "whole"),
		move(r4, frame),
		calculate(unix.BPF_ADD, r4, ethernet+ipv4Header+portsEnd),
		jumpIf(unix.BPF_JGT, r4, end, "drop"),
		load(size16, r4, frame, ethernet+6),
		calculate(unix.BPF_AND, r4, inNetworkOrder(0x3fff)),
		jump(unix.BPF_JNE, r4, 0, "drop"),
		load(size8, r4, frame, ethernet+9), // protocol
		jump(unix.BPF_JEQ, r4, tcp, "whole"),

		// What the rules see of DHCP must be what the server reads: in datagrams only
		// the first one is, and fragments can be mixed with others.
		load(size8, r4, frame, ethernet), // version and header length, in four bytes
		jump(unix.BPF_JNE, r4, 4<<4|ipv4Header/4, "drop"),
		load(size16, r4, frame, ethernet+ipv4Header+2), // destination port
		jump(unix.BPF_JEQ, r4, inNetworkOrder(dhcpServer), "drop"),
		goTo("cut"),

		// Behind an extension header only TCP: UFO repeats the header in each piece,
		// and counts it into the offsets (net/ipv6/ip6_offload.c, ipv6_gso_segment).
		at("cut6", move(r4, frame)),
		calculate(unix.BPF_ADD, r4, ethernet+ipv6Header+2),
		jumpIf(unix.BPF_JGT, r4, end, "drop"),
		load(size8, r4, frame, ethernet+6), // next header
		jump(unix.BPF_JEQ, r4, tcp, "whole"),
		jump(unix.BPF_JEQ, r4, udp, "cut6udp"),
		load(size8, r4, frame, ethernet+ipv6Header), // the one behind it
		jump(unix.BPF_JNE, r4, tcp, "drop"),
		goTo("whole"),
		// DHCPv6 to a server as DHCP above.
		at("cut6udp", move(r4, frame)),
		calculate(unix.BPF_ADD, r4, ethernet+ipv6Header+portsEnd),
		jumpIf(unix.BPF_JGT, r4, end, "drop"),
		load(size16, r4, frame, ethernet+ipv6Header+2), // destination port
		jump(unix.BPF_JEQ, r4, inNetworkOrder(dhcpv6Server), "drop"),

		// UDP, into fragments (UFO) or datagrams (USO). A second piece would have the
		// offset 0, too, and ports that no rule has seen, if the first were shorter
		// than the eight bytes that offsets count by; and so would one that begins
		// where offsets start again from 0.
		at("cut", jump(unix.BPF_JLT, r5, 8, "drop")),
		load(size32, r4, ctx, skbLength),
		jump(unix.BPF_JGT, r4, ethernet+longest, "drop"),

		// The rest is asked of the kernel's own struct sk_buff. Is a sum to be stored
		// (CHECKSUM_PARTIAL)?
		at("whole", asks[0]),
	}, asks[1:], []instruction{
		loadField(r2, ipSummed),
		shiftField(r2, ipSummed),
		calculate(unix.BPF_RSH, r2, 64-2),
		jump(unix.BPF_JEQ, r2, checksumPartial, "partial"),
		at("pass", set(r0, next)),
		exit(),

		// It is. r2 becomes the first place where it may be: the sum's own of TCP
		// and UDP, or behind, where it belongs to what they carry; and last the last
		// one. A sum lies within the part that can be read directly, so a frame is
		// dropped whose header is not.
		at("partial", set(last, anywhere)),
		jump(unix.BPF_JEQ, etherType, inNetworkOrder(unix.ETH_P_IP), "ipv4"),
		jump(unix.BPF_JEQ, etherType, inNetworkOrder(unix.ETH_P_IPV6), "ipv6"),
		jump(unix.BPF_JEQ, etherType, inNetworkOrder(unix.ETH_P_ARP), "drop"),
		set(r2, ethernet), // passes unjudged, if at all
		goTo("ask"),

		// A fragment has no sum of its own: the offset, and whether more follow,
		// must be 0.
		at("ipv4", move(r4, frame)),
		calculate(unix.BPF_ADD, r4, ethernet+ipv4Header),
		jumpIf(unix.BPF_JGT, r4, end, "drop"),
		load(size16, r4, frame, ethernet+6),
		calculate(unix.BPF_AND, r4, inNetworkOrder(0x3fff)),
		jump(unix.BPF_JNE, r4, 0, "drop"),
		load(size8, r4, frame, ethernet+9), // protocol
		load(size8, r2, frame, ethernet),   // version and header length, in four bytes
		calculate(unix.BPF_AND, r2, 0x0f),
		calculate(unix.BPF_LSH, r2, 2),
		jump(unix.BPF_JLT, r2, ipv4Header, "drop"),
		calculate(unix.BPF_ADD, r2, ethernet),
		// The types and groups of these the rules judge, and no guest leaves their sums
		// to its host.
		jump(unix.BPF_JEQ, r4, icmp, "drop"),
		jump(unix.BPF_JEQ, r4, igmp, "drop"),
		jump(unix.BPF_JEQ, r4, sctp, "drop"),
		goTo("transport"),

		// One extension header can stand between: that of tunnels (RFC 2473, 5.1),
		// or of a route. More, a fragment, or ICMPv6, whose targets the rules
		// judge, is nothing that a guest leaves a sum of to its host.
		at("ipv6", move(r4, frame)),
		calculate(unix.BPF_ADD, r4, ethernet+ipv6Header+2),
		jumpIf(unix.BPF_JGT, r4, end, "drop"),
		load(size8, r4, frame, ethernet+6), // next header
		set(r2, ethernet+ipv6Header),
		jump(unix.BPF_JEQ, r4, hopByHop, "extension"),
		jump(unix.BPF_JEQ, r4, routing, "extension"),
		jump(unix.BPF_JNE, r4, dstOptions, "known"),
		at("extension", load(size8, r4, frame, ethernet+ipv6Header)),
		load(size8, r5, frame, ethernet+ipv6Header+1), // length, in eight bytes behind the first eight
		calculate(unix.BPF_ADD, r5, 1),
		calculate(unix.BPF_LSH, r5, 3),
		add(r2, r5),
		at("known", jump(unix.BPF_JEQ, r4, hopByHop, "drop")),
		jump(unix.BPF_JEQ, r4, routing, "drop"),
		jump(unix.BPF_JEQ, r4, fragment, "drop"),
		jump(unix.BPF_JEQ, r4, authentic, "drop"),
		jump(unix.BPF_JEQ, r4, icmpv6, "drop"),
		jump(unix.BPF_JEQ, r4, dstOptions, "drop"),

		at("transport", jump(unix.BPF_JEQ, r4, tcp, "tcp")),
		jump(unix.BPF_JEQ, r4, udp, "udp"),
		calculate(unix.BPF_ADD, r2, portsEnd),
		goTo("ask"),
		at("udp", move(r5, frame)),
		add(r5, r2),
		move(r3, r5),
		calculate(unix.BPF_ADD, r3, portsEnd),
		jumpIf(unix.BPF_JGT, r3, end, "drop"),
		load(size16, r5, r5, 2), // destination port
		calculate(unix.BPF_ADD, r2, udpChecksum),
		jump(unix.BPF_JEQ, r5, inNetworkOrder(dhcpServer), "dhcp"),
		jump(unix.BPF_JNE, r5, inNetworkOrder(dhcpv6Server), "ask"),
		// UDP's sum and no other is to be stored where the rules judge what it is of.
		at("dhcp", move(last, r2)),
		goTo("ask"),
		at("tcp", calculate(unix.BPF_ADD, r2, tcpChecksum)),

		// Does the sum lie there, or behind? Its place is so far from where it starts;
		// that, and the Ethernet header, are counted from the beginning of the
		// frame's memory.
		at("ask", loadField(r3, csumStart)),
		loadField(r4, csumOffset),
		add(r3, r4),
		loadField(r4, macHeader),
		subtract(r3, r4),
		jumpIf(unix.BPF_JSGT, r3, last, "drop"),
		jumpIf(unix.BPF_JSGE, r3, r2, "pass"),

		at("drop", mapValue(r1, counter)),
		set(r2, 1),
		increment(r1, r2),
		set(r0, shot),
		exit(),
	})
}

// copyFrame copies the struct, at whose beginning ctx really points: to be read it has
// to be.
func copyFrame() []instruction {
	return []instruction{
		move(r1, stack),
		calculate(unix.BPF_ADD, r1, -copied),
		set(r2, copied),
		move(r3, ctx),
		call(probeReadKernel),
		jump(unix.BPF_JNE, r0, 0, "drop"),
		move(r1, stack),
		calculate(unix.BPF_ADD, r1, -copied),
	}
}

// castFrame has the kernel let ctx be read as what it is, which costs a frame nothing
// (Linux 6.2). cast is the number of the kernel's function bpf_cast_to_kern_ctx.
func castFrame(cast int32) []instruction {
	return []instruction{move(r1, ctx), callKernel(cast), move(r1, r0)}
}
