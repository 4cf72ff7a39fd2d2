#!/usr/bin/env bash
# One rule, one frame, one link: "ip saddr A" in the netdev family matches an IPv4 datagram behind a VLAN tag where the
# frame comes in, and not where it goes out of a packet socket; "@nh,0,8 0x45" matches at both ends. The protocol and
# the network header of a frame disagree on egress: the first is the tag's, the second is already behind the tag.
# With two tags (802.1ad, 802.1Q) it turns round: @nh finds IPv4 at the sender and not at the receiver, whose protocol
# is the inner tag's.
#
# Why it matters: a filter tried in one direction says nothing about the other; raw offsets and named fields are not
# two spellings of one match.
#
# Source: Linux net/core/dev.c (skb_vlan_untag before the ingress hook lifts one tag), net/packet/af_packet.c
# (packet_parse_headers sets the network header by the depth of tags); nft(8), RAW PAYLOAD EXPRESSION.
# Needs root, Linux >= 5.16 (egress), nft, iproute2, go (its standard library alone).
set -euo pipefail

if [ "${1-}" != inside ]; then
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  cat >"$dir/send.go" <<'GO'
package main

import (
	"encoding/hex"
	"log"
	"net"
	"os"
	"syscall"
)

// main sends the frame os.Args[2], in hexadecimal, from the device os.Args[1].
func main() {
	device, err := net.InterfaceByName(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	frame, err := hex.DecodeString(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	socket, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0)
	if err != nil {
		log.Fatal(err)
	}
	if err := syscall.Sendto(socket, frame, 0, &syscall.SockaddrLinklayer{Ifindex: device.Index}); err != nil {
		log.Fatal(err)
	}
}
GO
  (cd "$dir" && GO111MODULE=off timeout 120 go build -o send send.go)
  timeout 60 unshare -n "$0" inside "$dir"
  exit
fi

cd "$2"
echo "Linux $(uname -r), $(nft --version)"
ip link add near type veth peer name far
ip link set near up
ip link set far up
ethernet=020000000010020000000099
datagram=080045000024000100004011000a0a0000090a00000103e8003500100000000000000000000000000000000000000000

# counters sends a frame from far to near and gives, for the hook at each end, what the two matches counted.
counters() {
  nft -f - <<'NFT'
flush ruleset
table netdev t {
  chain out {
    type filter hook egress device "far" priority filter; policy accept;
    ip saddr 10.0.0.9 counter
    @nh,0,8 0x45 @nh,96,32 0x0a000009 counter
  }
  chain in {
    type filter hook ingress device "near" priority filter; policy accept;
    ip saddr 10.0.0.9 counter
    @nh,0,8 0x45 @nh,96,32 0x0a000009 counter
  }
}
NFT
  ./send far "$1"
  sleep 0.2
  nft list ruleset | sed -n 's/.*counter packets \([0-9]*\).*/\1/p' | xargs
}

plain=$(counters "$ethernet$datagram")
one=$(counters "${ethernet}81000005$datagram")
two=$(counters "${ethernet}88a8000581000006$datagram")
echo "expected: both spellings agree, and both ends of a wire agree"
echo "seen, matched by: sender's [ip saddr, @nh], receiver's [ip saddr, @nh]"
echo "  no tag:         $plain"
echo "  802.1Q:         $one"
echo "  802.1ad+802.1Q: $two"
[ "$plain/$one/$two" = "1 1 1 1/0 1 1 1/0 1 0 0" ]
