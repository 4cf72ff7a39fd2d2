#!/usr/bin/env bash
# A route by a next hop object ("ip nexthop", "ip route add … nhid 7") has a gateway and a device in the kernel's dump
# only while net.ipv4.nexthop_compat_mode is 1. At 0 the dump holds RTA_NH_ID alone. vishvananda/netlink has no field
# for that number: the default route comes back with no gateway, no device and no error, as a blackhole route does.
# The sysctl stands under ipv4 and rules IPv6 as well.
#
# Why it matters: routing daemons use such objects, and 0 makes their dumps and notifications small. A program that looks
# for the gateway then finds a default route that leads nowhere, while the host routes as before.
#
# Source: Linux Documentation/networking/ip-sysctl.rst, nexthop_compat_mode; ip-nexthop(8).
# Needs root, Linux >= 5.8, iproute2, go and its module proxy.
set -euo pipefail

if [ "${1-}" != inside ]; then
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  cat >"$dir/main.go" <<'GO'
package main

import (
	"fmt"
	"log"

	"github.com/vishvananda/netlink"
)

// main prints the default routes of both families: gateway and interface index.
func main() {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteList(nil, family)
		if err != nil {
			log.Fatal(err)
		}
		for _, r := range routes {
			if r.Dst == nil || r.Dst.IP.IsUnspecified() {
				fmt.Printf("default via %v dev %d, ", r.Gw, r.LinkIndex)
			}
		}
	}
	fmt.Println()
}
GO
  (
    cd "$dir"
    go mod init finding 2>/dev/null
    timeout 120 go get github.com/vishvananda/netlink@v1.3.1
    go list -m github.com/vishvananda/netlink
    timeout 120 go build -o defaults .
  )
  timeout 60 unshare -n "$0" inside "$dir"
  exit
fi

echo "Linux $(uname -r), $(ip -V)"
ip link add lan index 90 type veth peer name wire
ip link set lan up
ip link set wire up
ip address add 198.51.100.9/24 dev lan
ip nexthop add id 7 via 198.51.100.1 dev lan
ip nexthop add id 8 via fe80::1 dev lan
ip route add default nhid 7
ip -6 route add default nhid 8
sysctl -qw net.ipv4.nexthop_compat_mode=1
one=$("$2/defaults")
sysctl -qw net.ipv4.nexthop_compat_mode=0
zero=$("$2/defaults")
echo "expected: the same routes at both values of the sysctl"
echo "seen, 1:  $one"
echo "seen, 0:  $zero"
echo "          $(ip route show default) (iproute2); a packet takes: $(ip route get 203.0.113.1 | sed -n 1p | xargs)"
[ "$one" = 'default via 198.51.100.1 dev 90, default via fe80::1 dev 90, ' ]
[[ "$zero" = 'default via <nil> dev 0, default via <nil> dev '*', ' ]]
ip route get 203.0.113.1 | grep 'via 198.51.100.1 dev lan' >/dev/null
