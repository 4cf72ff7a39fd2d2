#!/usr/bin/env bash
# A chain at ingress that drops the DHCP server's messages keeps udhcpc from its address, and dhclient gets one all the same,
# while the chain counts what it drops. Both read frames by a packet socket. dhclient's is one for all protocols, and Linux
# hands frames to those (tcpdump is such a one) before ingress, to those for one protocol, as udhcpc's for IPv4, behind it.
# So it is with ISC's server, which answers what its host drops. At egress a chain drops what both send.
#
# Why it matters: whether a rule keeps rogue DHCP servers off depends on the program at the other end of it, and a
# counter of dropped messages does not say that nobody read them. What holds for every program is a filter at the device
# where the frames are sent, or on the wire between.
#
# Source: Linux net/core/dev.c (__netif_receive_skb_core: ptype_all, then ingress, then the handlers of the protocol); packet(7);
# ISC DHCP's common/lpf.c, busybox's networking/udhcp/dhcpc.c (udhcp_raw_socket).
# Needs root, Linux, nft, iproute2, apt with Debian 12's lists; the packages are unpacked in a temporary folder, and nothing is
# installed.
set -euo pipefail

if [ "${1-}" != inside ]; then
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  (cd "$dir" && apt-get -q -o APT::Sandbox::User=root download isc-dhcp-server=4.4.3-P1-2 isc-dhcp-client=4.4.3-P1-2 busybox=1:1.35.0-4+deb12u1+b1 >/dev/null && for deb in *.deb; do dpkg -x "$deb" root; done)
  timeout 120 unshare --mount --net --pid --fork --kill-child --mount-proc bash "$0" inside "$dir"
  exit
fi

dir=$2
unshare --net sleep 110 &
client=$!
until [ "$(readlink /proc/$client/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
at_client() { nsenter --target $client --net "$@"; }
ip link set lo up
ip link add server type veth peer name client netns $client
ip link set server up
ip address add 192.0.2.1/24 dev server
at_client ip link set client up
printf 'authoritative;\nsubnet 192.0.2.0 netmask 255.255.255.0 { range 192.0.2.10 192.0.2.20; }\n' >"$dir/conf"
: >"$dir/leases"
"$dir/root/usr/sbin/dhcpd" -4 -d -f --no-pid -cf "$dir/conf" -lf "$dir/leases" server >"$dir/log" 2>&1 &

# Each of these says whether the client comes to an address.
udhcpc() {
  if at_client "$dir/root/bin/busybox" udhcpc -i client -n -q -f -t 3 -T 2 -s /bin/true >/dev/null 2>&1; then echo address; else echo none; fi
}
dhclient() {
  if at_client timeout 20 "$dir/root/sbin/dhclient" -1 -q -sf /bin/true -cf /dev/null -lf "$dir/lease" -pf "$dir/pid" client >/dev/null 2>&1; then echo address; else echo none; fi
  [ ! -s "$dir/pid" ] || kill "$(cat "$dir/pid")"
  rm -f "$dir/pid" "$dir/lease"
}
# drop drops DHCP of one side's messages at a hook of the client's device.
drop() {
  at_client nft -f - <<NFT
flush ruleset
table netdev t {
	chain c {
		type filter hook $1 device "client" priority 0; policy accept;
		udp sport $2 counter drop
	}
}
NFT
}
dropped() { at_client nft list ruleset | sed -n 's/.*counter packets \([0-9]*\).*/\1/p'; }

echo "Linux $(uname -r), $(nft --version), $("$dir/root/sbin/dhclient" --version 2>&1), $("$dir/root/bin/busybox" | sed -n '1s/ (.*//p')"
free="udhcpc: $(udhcpc), dhclient: $(dhclient)"
drop ingress 67
ingress="udhcpc: $(udhcpc), dhclient: $(dhclient)"
counted=$(dropped)
drop egress 68
egress="udhcpc: $(udhcpc), dhclient: $(dhclient)"
at_client nft flush ruleset
nft 'table netdev t { chain c { type filter hook ingress device "server" priority 0; policy drop; }; }'
answered="udhcpc: $(udhcpc), dhclient: $(dhclient)"
echo "expected: without an address where DHCP is dropped: udhcpc: none, dhclient: none"
echo "seen:     without rules:          $free"
echo "          dropped at ingress:     $ingress (messages dropped: $counted)"
echo "          dropped at egress:      $egress"
echo "          at the server's ingress: $answered"
[ "$free" = "udhcpc: address, dhclient: address" ]
[ "$ingress" = "udhcpc: none, dhclient: address" ] && [ "$counted" -gt 0 ]
[ "$egress" = "udhcpc: none, dhclient: none" ]
[ "$answered" = "udhcpc: address, dhclient: address" ]
