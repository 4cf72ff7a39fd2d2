#!/usr/bin/env bash
# A rule that only looks into a set runs what the set's elements carry: a limit there gives away a token at each "@set" that
# finds the element, and where none is left the look-up does not hold, as if the element were not there. A counter there
# counts those who look, beside those who add. "!= @set" neither takes nor counts.
#
# Why it matters: one rule fills a set with a limit in its elements, another one asks whether somebody is in it. The second
# uses up the first one's tokens, and says "no" of whom it is asked about too often.
#
# Source: Linux net/netfilter/nft_lookup.c (nft_lookup_eval), include/net/netfilter/nf_tables.h (nft_set_elem_update_expr).
# nft(8) tells of limits and counters in elements under "add" and "update" only.
# Needs root, Linux, nftables (seen with 1.0.6), python3 (its standard library).
set -euo pipefail

if [ "${1-}" != inside ]; then
  timeout 60 unshare -n "$0" inside
  exit
fi

echo "Linux $(uname -r), $(nft --version)"
ip link set lo up
nft -f - <<'NFT'
table netdev t {
	set limited {
		type ipv4_addr
		size 100
		flags dynamic
		elements = { 127.0.0.9 limit rate 1/day burst 3 packets }
	}

	set counted {
		type ipv4_addr
		size 100
		flags dynamic
		counter
		elements = { 127.0.0.9 }
	}

	counter found { }
	counter missed { }
	counter another { }

	chain c {
		type filter hook ingress device "lo" priority 0; policy accept;
		udp dport 9 ip saddr != @limited counter name "another"
		udp dport 9 ip saddr != @counted counter name "another"
		udp dport 9 ip saddr @counted
		udp dport 9 ip saddr @limited counter name "found" accept
		udp dport 9 counter name "missed"
	}
}
NFT
python3 - <<'PY'
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.9", 0))
for _ in range(5):
    s.sendto(b"x", ("127.0.0.1", 9))
PY
packets() { sed -n 's/.*packets \([0-9]*\).*/\1/p'; }
named() { nft list counter netdev t "$1" | packets; }
echo "expected of five packets, all from the element: found 5, missed 0; the element's counter 0, since no rule adds to that set"
echo "seen: found $(named found), missed $(named missed), the element's counter $(nft list set netdev t counted | grep elements | packets); by !=, $(named another)"
[ "$(named found)" = 3 ]
[ "$(named missed)" = 2 ]
[ "$(nft list set netdev t counted | grep elements | packets)" = 5 ]
[ "$(named another)" = 0 ]
