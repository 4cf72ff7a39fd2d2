#!/usr/bin/env bash
# vishvananda/netlink: RouteList(link, family) leaves out every route with more than one next hop, also where one of
# them, or all, leave by that link; so does a filter on the gateway. A host whose default route is balanced over two
# routers of one LAN has, asked for that LAN's NIC, no default route, and the error is nil. RouteList(nil, family) has it.
#
# Why it matters: "which gateways does this NIC have" is answered "none" on the hosts that have most of them.
#
# Source: rtnetlink(7), RTA_MULTIPATH (the interface is in the next hops, RTA_OIF is absent); ip-route(8), "nexthop".
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

// defaults counts the default routes among routes.
func defaults(routes []netlink.Route, err error) int {
	if err != nil {
		log.Fatal(err)
	}
	n := 0
	for _, r := range routes {
		if r.Dst == nil || r.Dst.IP.IsUnspecified() {
			n++
		}
	}
	return n
}

func main() {
	lan, err := netlink.LinkByName("lan")
	if err != nil {
		log.Fatal(err)
	}
	ofLink4, ofLink6 := defaults(netlink.RouteList(lan, netlink.FAMILY_V4)), defaults(netlink.RouteList(lan, netlink.FAMILY_V6))
	all4, all6 := defaults(netlink.RouteList(nil, netlink.FAMILY_V4)), defaults(netlink.RouteList(nil, netlink.FAMILY_V6))
	byGateway := defaults(netlink.RouteListFiltered(netlink.FAMILY_V4,
		&netlink.Route{Gw: net.IPv4(198, 51, 100, 1)}, netlink.RT_FILTER_GW))
	fmt.Println("expected: 1 default route in each list")
	fmt.Printf("seen:     of the link %d (IPv4) %d (IPv6), by gateway %d; of all links %d and %d\n",
		ofLink4, ofLink6, byGateway, all4, all6)
	if ofLink4 != 0 || ofLink6 != 0 || byGateway != 0 || all4 != 1 || all6 != 1 {
		os.Exit(1)
	}
}
GO
  (
    cd "$dir"
    go mod init finding 2>/dev/null
    timeout 120 go get github.com/vishvananda/netlink@v1.3.1
    go list -m github.com/vishvananda/netlink
    timeout 120 go build -o routes .
  )
  timeout 60 unshare -n "$0" inside "$dir"
  exit
fi

echo "Linux $(uname -r)"
ip link add lan type veth peer name wire
ip link set lan up
ip link set wire up
ip address add 198.51.100.9/24 dev lan
ip route add default nexthop via 198.51.100.1 dev lan nexthop via 198.51.100.2 dev lan
ip -6 route add default nexthop via fe80::1 dev lan nexthop via fe80::2 dev lan
"$2/routes"
