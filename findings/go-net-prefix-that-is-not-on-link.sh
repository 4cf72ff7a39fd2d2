#!/usr/bin/env bash
# Go's net.Interface.Addrs pairs the local address with the peer's prefix length: "ip address add 10.0.0.1 peer
# 192.168.5.2/24" is 10.0.0.1/24 there, a network that the link does not have. What is on the link is 192.168.5.0/24:
# that is the route that the kernel makes. vishvananda/netlink says 10.0.0.1/32, peer 192.168.5.2/24.
#
# Why it matters: routed hosting (one address, the router as peer) and tunnels are set up so. A program that takes the
# local networks from the standard library treats 254 strangers as neighbours, and the neighbours as strangers.
#
# Source: ip-address(8), "peer"; Linux include/uapi/linux/if_addr.h (the note on IFA_ADDRESS and IFA_LOCAL);
# Go's net/interface_linux.go.
# Needs root, iproute2, go and its module proxy.
set -euo pipefail

if [ "${1-}" != inside ]; then
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  cat >"$dir/main.go" <<'GO'
package main

import (
	"fmt"
	"log"
	"net"
	"os"

	"github.com/vishvananda/netlink"
)

func main() {
	device, err := net.InterfaceByName("near")
	if err != nil {
		log.Fatal(err)
	}
	standard, err := device.Addrs()
	if err != nil {
		log.Fatal(err)
	}
	link, err := netlink.LinkByName("near")
	if err != nil {
		log.Fatal(err)
	}
	addresses, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil || len(addresses) != 1 {
		log.Fatal(addresses, err)
	}
	routes, err := netlink.RouteList(link, netlink.FAMILY_V4)
	if err != nil || len(routes) != 1 {
		log.Fatal(routes, err)
	}
	fmt.Printf("expected: the prefix of the address is the one on the link, %v\n", routes[0].Dst)
	fmt.Printf("seen:     net: %v; netlink: %v peer %v\n", standard[0], addresses[0].IPNet, addresses[0].Peer)
	if standard[0].String() != "10.0.0.1/24" || addresses[0].Peer.String() != "192.168.5.2/24" ||
		routes[0].Dst.String() != "192.168.5.0/24" {
		os.Exit(1)
	}
}
GO
  (
    cd "$dir"
    go mod init finding 2>/dev/null
    timeout 120 go get github.com/vishvananda/netlink@v1.3.1
    go list -m github.com/vishvananda/netlink
    timeout 120 go build -o addresses .
  )
  timeout 60 unshare -n "$0" inside "$dir"
  exit
fi

echo "Linux $(uname -r), $(go version)"
sysctl -qw net.ipv6.conf.default.disable_ipv6=1
ip link add near type veth peer name far
ip link set near up
ip link set far up
ip address add 10.0.0.1 peer 192.168.5.2/24 dev near
"$2/addresses"
