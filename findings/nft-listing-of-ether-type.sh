#!/usr/bin/env bash
# nft lists a netdev rule "ether type ip ip saddr A" as "ip saddr A". The listing loads without a word, but as a rule
# that matches more: the first reads the EtherType from the Ethernet header, the second asks "meta protocol ip".
# On ingress the kernel has put a VLAN tag aside; the header that nft reads has it put back, "meta protocol" does not.
#
# Why it matters: save and restore, or a comparison of listings, changes the verdict on tagged frames and shows no
# difference.
#
# Source: nft(8), META EXPRESSIONS and ETHERNET HEADER EXPRESSION; Linux net/netfilter/nft_payload.c
# (nft_payload_copy_vlan), net/core/dev.c (skb_vlan_untag stands before the ingress hook).
# Needs root, Linux >= 5.10, nft, iproute2, go (its standard library alone).
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
# UDP from 10.0.0.9 to 10.0.0.1, in a frame with the VLAN tag 5.
tagged=02000000001002000000009981000005080045000024000100004011000a0a0000090a00000103e8003500100000000000000000000000000000000000000000

# matched loads a ruleset, sends the tagged frame once and gives the rule's counter.
matched() {
  nft flush ruleset
  nft -f "$1"
  ./send far "$tagged"
  sleep 0.2
  nft list ruleset | sed -n 's/.*counter packets \([0-9]*\).*/\1/p'
}

cat >written.nft <<'NFT'
table netdev t {
  chain c {
    type filter hook ingress device "near" priority filter; policy accept;
    ether type ip ip saddr 10.0.0.9 counter
  }
}
NFT
nft -f written.nft
nft list ruleset | sed 's/ packets [0-9]* bytes [0-9]*//' >listed.nft
written=$(matched written.nft)
listed=$(matched listed.nft)
echo "written:  $(grep saddr written.nft | xargs)"
echo "listed:   $(grep saddr listed.nft | xargs)"
echo "expected: the listing, loaded again, judges a frame as the rule did"
echo "seen:     of 1 frame with a VLAN tag the rule written matches $written, the rule listed $listed"
[ "$written $listed" = "0 1" ]
