#!/usr/bin/env bash
# nft 1.0.6 lists a field that does not fill its bytes (ip dscp, ip version, tcp doff, vlan pcp), where it stands in
# a concatenation, with the shift that it takes to read it: "ip dscp . udp dport" comes back as "ip dscp >> 2 . udp dport". That
# loads, without a word, and is shifted twice then: the rule matches nothing any more. Each time it is saved and loaded there
# is one more. Elements of an anonymous set are shown wrong as well: "tcp doff . tcp dport { 5 . 22 }" is listed as { 0 . 1280 },
# and loads as that.
#
# Why it matters: rules that were right until the host started again from "nft list ruleset > file", with no error at
# either end. A field alone ("ip dscp cs1"), or one that ends with its byte (ip ecn, vlan id, ip hdrlength), is fine.
#
# Source: nft(8), "CONCATENATIONS"; nftables' src/netlink_delinearize.c (what undoes the mask and shift of a payload looks at
# comparisons, not into concatenations; 1.1.3 lists all of these as they were written).
# Needs root, Linux, apt with Debian 12's lists (the packages are unpacked in a temporary folder, and nothing is installed),
# iproute2, python3 (its standard library).
set -euo pipefail

if [ "${1-}" != inside ]; then
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  (cd "$dir" && apt-get -q -o APT::Sandbox::User=root download nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2 libnftnl11=1.2.4-2 >/dev/null && for deb in *.deb; do dpkg -x "$deb" root; done)
  timeout 60 unshare -n "$0" inside "$dir"
  exit
fi

dir=$2
nft() { LD_LIBRARY_PATH="$(echo "$dir"/root/usr/lib/*/)" "$dir/root/usr/sbin/nft" "$@"; }
echo "Linux $(uname -r), $(nft --version)"
ip link set lo up
nft -f - <<'NFT'
table netdev t {
	set marked {
		typeof ip dscp . udp dport
		elements = { cs1 . 9 }
	}

	chain c {
		type filter hook ingress device "lo" priority 0; policy accept;
		ip dscp . udp dport @marked counter
	}

	chain d {
		tcp doff . tcp dport { 5 . 22 } accept
	}
}
NFT

# matched gives how many of three datagrams of class cs1 the rule counts.
matched() {
  python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x20)
for _ in range(3):
    s.sendto(b"x", ("127.0.0.1", 9))
'
  nft list ruleset | sed -n 's/.*counter packets \([0-9]*\).*/\1/p'
}
rule() { nft list chain netdev t "$1" | grep -o "$2.*"; }
# again loads what is listed in place of what stands.
again() {
  { echo flush ruleset && nft -s list ruleset; } >"$dir/rules"
  nft -f "$dir/rules"
}
written=$(matched)
port=$(rule d 'tcp doff')
again
once=$(matched)
first=$(rule c 'ip dscp' | sed 's/ @.*//')
again
second=$(rule c 'ip dscp' | sed 's/ @.*//')
echo "expected: 3 of 3 datagrams match, before the listing is loaded and after it; { 5 . 22 }"
echo "seen:     $written, then $once; $port"
echo "          the rule after it was loaded once: $first; twice: $second"
[ "$written $once" = "3 0" ]
[ "$port" = "tcp doff >> 4 . tcp dport { 0 . 1280 } accept" ]
[ "$first" = "ip dscp >> 2 >> 2 . udp dport" ]
[ "$second" = "ip dscp >> 2 >> 2 >> 2 . udp dport" ]
