#!/usr/bin/env bash
# Wildcards of interface names that are neighbours by their last character, in one anonymous set, make a listing that nft does
# not load: 'oifname { "vnet2*", "vnet3*" }' comes back as 'oifname { ""/39 }', and "vnet1*" with "vnet2*" as a range of two
# names that are not text. To nft a name is a number and a wildcard a range of numbers, anonymous sets are merged, and two
# ranges that touch become one, which no wildcard says. In an anonymous map the first of the two is listed as ""/40. The rules
# match as they should; wildcards that are no neighbours ("vnet1*", "vnet3*") are listed as they were written.
#
# Why it matters: "eth0*" and "eth1*", for NICs and their VLANs, is a usual pair, and one such rule keeps the whole saved file
# from loading. A named set without "auto-merge" keeps the names apart.
#
# Source: nft(8), "SETS" (auto-merge), "META EXPRESSIONS" (ifname); nftables' src/intervals.c (set_automerge), src/datatype.c.
# Needs root, Linux, nft (seen with 1.0.6 and 1.1.3), iproute2, python3 (its standard library).
set -euo pipefail

[ "${1-}" = inside ] || exec timeout 60 unshare -n "$0" inside

echo "Linux $(uname -r), $(nft --version)"
sysctl -qw net.ipv6.conf.default.disable_ipv6=1
for n in 20 35 40; do
  ip link add vnet$n type veth peer name far$n
  ip link set vnet$n up
  ip link set far$n up
  ip address add 198.51.100.$n/32 dev vnet$n
done

# load loads a rule in a chain by itself.
load() {
  nft -f - <<NFT
flush ruleset
table inet t {
	chain c {
		type filter hook output priority 0; policy accept;
		udp dport 9 $1
	}
}
NFT
}
# listed gives how nft lists the rule's names, and whether that loads.
listed() {
  load "$1"
  local names said
  names=$(nft list ruleset | LC_ALL=C sed 's/[^[:print:][:space:]]/?/g' | grep -o '{ ".*}')
  if said=$({ echo flush ruleset && nft list ruleset; } | nft -c -f - 2>&1); then said=loads; else said=$(LC_ALL=C sed -n 's/.*Error: //p' <<<"$said"); fi
  echo "$names: $said"
}

load 'oifname { "vnet2*", "vnet3*" } counter'
python3 - <<'PY'
import socket
for device in "vnet20", "vnet35", "vnet40":
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    s.sendto(b"x", ("224.0.0.1", 9))
PY
matched=$(nft list ruleset | LC_ALL=C sed -n 's/.*counter packets \([0-9]*\).*/\1/p')
prefix=$(listed 'oifname { "vnet2*", "vnet3*" } accept')
range=$(listed 'oifname { "vnet1*", "vnet2*" } accept')
map=$(listed 'oifname vmap { "vnet2*" : accept, "vnet3*" : drop }')
apart=$(listed 'oifname { "vnet1*", "vnet3*" } accept')
echo "expected: what was written, and it loads"
printf 'seen:     %s\n' "$prefix" "$range" "$map" "$apart"
echo "          of a datagram by each of vnet20, vnet35, vnet40 the first rule matched $matched"
[ "$prefix" = '{ ""/39 }: Empty string is not allowed' ]
[[ "$range" = '{ ""-"'*'" }: Empty string is not allowed' ]]
[ "$map" = '{ ""/40 : accept, "vnet3*" : drop }: Empty string is not allowed' ]
[ "$apart" = '{ "vnet1*", "vnet3*" }: loads' ]
[ "$matched" = 2 ]
