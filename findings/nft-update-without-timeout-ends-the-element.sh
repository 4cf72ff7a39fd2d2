#!/usr/bin/env bash
# "update @set { KEY }" in a rule, without a timeout, in a set that has none of its own, neither renews an element's timeout
# nor leaves it alone: the element expires with the very packet, and the next packet adds it again, for ever. "add @set
# { KEY }" leaves it as it is; where the set has a timeout of its own, update takes that, and the element's own is no more.
#
# Why it matters: nft(8) says that update "refreshes" a timeout. A set that other rules fill for a time, and that one more
# rule only wants to count in, loses what it holds one packet long, and then holds it without end.
#
# Source: Linux net/netfilter/nft_dynset.c (nft_dynset_eval).
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
	set updated {
		type ipv4_addr
		size 100
		flags dynamic,timeout
		elements = { 127.0.0.9 timeout 1h }
	}

	set added {
		type ipv4_addr
		size 100
		flags dynamic,timeout
		elements = { 127.0.0.9 timeout 1h }
	}

	set usual {
		type ipv4_addr
		size 100
		flags dynamic,timeout
		timeout 30m
		elements = { 127.0.0.9 timeout 1h }
	}

	chain c {
		type filter hook ingress device "lo" priority 0; policy accept;
		ip saddr 127.0.0.9 update @updated { ip saddr }
		ip saddr 127.0.0.9 add @added { ip saddr }
		ip saddr 127.0.0.9 update @usual { ip saddr }
	}
}
NFT
send() {
  python3 - <<'PY'
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.9", 0))
s.sendto(b"x", ("127.0.0.1", 9))
PY
}
element() { nft list set netdev t "$1" | sed -n 's/.*elements = { \(.*\) }/\1/p' | sed -E 's/([0-9]+m)[0-9]+s([0-9]+ms)?/\1…/'; }
echo "expected: an hour is left in each, renewed or not"
send
for set in updated added usual; do echo "seen after one packet: $set: $(element $set)"; done
[ -z "$(element updated)" ]
[[ "$(element added)" == "127.0.0.9 timeout 1h expires 59m"* ]]
[[ "$(element usual)" == "127.0.0.9 timeout 1h expires 29m"* ]]
send
echo "seen after two: updated: $(element updated)"
[ "$(element updated)" = "127.0.0.9" ]
