#!/usr/bin/env bash
# A guest on a macvtap device is found over IPv6 because the host, too, speaks IPv6 on that device. The guest's own
# groups do not reach the device unless somebody passes them on (libvirt does for trustGuestRxFilters='yes' alone); but
# the host's stack makes itself a link-local address of the device's MAC address, which is the guest's, and joins the
# solicited-node group of it, which is that of all addresses that a guest makes so. Switched off
# (net.ipv6.conf.DEVICE.disable_ipv6=1, or default.disable_ipv6=1 for a quiet host), neighbour solicitations for the guest
# end at the parent, and the guest has IPv6 only for as long as its router remembers it.
#
# Why it matters: whoever hardens a host so, for a stack that claims the guest's address looks like a fault, cuts off the
# guests. Joining the two groups by their MAC addresses keeps them: "ip maddress add 33:33:ff:… dev DEVICE".
#
# Source: Linux drivers/net/macvlan.c (macvlan_compute_filter, macvlan_set_mac_lists), net/ipv6/addrconf.c
# (addrconf_join_solict, addrconf_ifdown); RFC 4291, 2.7.1.
# Needs root, a kernel with macvtap and nftables, iproute2, nftables, python3 (its standard library).
set -euo pipefail

if [ "${1-}" != inside ]; then
  timeout 60 unshare -n "$0" inside
  exit
fi

echo "Linux $(uname -r)"
ip link add nic type veth peer name wire
ip link add link nic name guest address 02:00:00:aa:bb:cc type macvtap mode bridge
for device in nic wire guest; do ip link set "$device" up; done
nft -f - <<'NFT'
table netdev count {
	counter found {
	}
	chain guest {
		type filter hook ingress device "guest" priority 0; policy accept;
		ether daddr 33:33:ff:aa:bb:cc counter name "found"
	}
}
NFT

# found sends ten frames to the solicited-node group of the guest's address, and counts those that come to its device.
found() {
  nft reset counter netdev count found >/dev/null
  python3 - <<'PY'
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("wire", 0))
for _ in range(10):
    s.send(bytes.fromhex("3333ffaabbcc" "020000000099" "86dd") + bytes(46))
PY
  sleep 0.3 # macvlan delivers groups' frames by a work queue
  nft list counter netdev count found | grep -o 'packets [0-9]*' | cut -d' ' -f2
}

sleep 2 # until the host has its address, and has joined
spoken=$(found)
sysctl -qw net.ipv6.conf.guest.disable_ipv6=1
silent=$(found)
ip maddress add 33:33:ff:aa:bb:cc dev guest
joined=$(found)
echo "expected: the guest's device takes the same frames whether the host speaks IPv6 on it or not"
echo "seen: of 10 solicitations for the guest $spoken arrive while the host speaks IPv6 there, $silent when it does not, $joined with the group joined by hand"
[ "$spoken" = 10 ] && [ "$silent" = 0 ] && [ "$joined" = 10 ]
