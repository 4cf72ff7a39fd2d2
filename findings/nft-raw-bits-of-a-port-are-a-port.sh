#!/usr/bin/env bash
# nft takes raw bits of the transport header for a field that it knows where place and length fit, and gives them that field's
# type: "@th,16,16" is "th dport", an inet_service, and "@th,32,16", right behind it, an integer of 16 bits. In a set of raw
# bits the two are of different types: what a rule adds by the one, no rule can look up by the other, though both are two
# bytes. The very same bytes counted from the network header ("@nh,176,16" behind an IPv4 header of 20 bytes) are bits.
#
# Why it matters: one set for flows of TCP, UDP (by ports) and ping (by identifier), or for ports that an ICMP error quotes,
# cannot be filled and looked up by "@th"; the error, "datatype mismatch", names types that nobody wrote.
#
# Source: nft(8), "RAW PAYLOAD EXPRESSION"; src/payload.c (payload_init_raw, the templates of "th").
# Needs root, Linux, nftables (seen with 1.0.6, 1.1.3 and 1.1.7).
set -euo pipefail

if [ "${1-}" != inside ]; then
  timeout 60 unshare -n "$0" inside
  exit
fi

echo "Linux $(uname -r), $(nft --version)"
# loads tells whether a rule that fills a set by one field and one that looks it up by another load.
loads() {
  nft flush ruleset
  if said=$(nft -f - 2>&1 <<NFT
table netdev t {
	set s { typeof meta iif . $1; size 9; flags dynamic; }
	chain c {
		update @s { meta iif . $1 }
		meta iif . $2 @s accept
	}
}
NFT
  ); then echo loads; else echo "$said" | head -1 | sed 's/^[^ ]* //'; fi
}
port=$(loads @th,16,16 @th,32,16)
same=$(loads @th,32,16 @th,48,16)
network=$(loads @nh,176,16 @nh,192,16)
echo "expected: loads, three times"
echo "seen: @th,16,16 and @th,32,16: $port"
echo "      @th,32,16 and @th,48,16: $same; @nh,176,16 and @nh,192,16: $network"
case $port in *mismatch*) ;; *) exit 1 ;; esac
[ "$same" = loads ]
[ "$network" = loads ]
