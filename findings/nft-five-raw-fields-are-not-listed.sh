#!/usr/bin/env bash
# A set of nftables can be declared by what its rules read, with "typeof", and raw bytes are no worse than named fields there.
# With four fields in the key, nft lists the set as it was declared, and loads that again. With five, the same declaration is
# taken, the rules load and work, and nft lists "type … . integer . integer . integer . integer", which it does not load:
# "can not use variable sized data types (integer) in concat expressions".
#
# Why it matters: a saved ruleset ("nft list ruleset > file") is worth nothing on the day it is needed; four fields of any
# length are fine, and the fifth breaks the whole file.
#
# Source: nft(8), "SETS" (typeof); what is listed comes of user data that nft keeps with the set (src/netlink.c,
# src/expression.c, concat_expr_build_udata).
# Needs root, Linux, nftables (seen with 1.0.6, 1.1.3 and 1.1.7).
set -euo pipefail

if [ "${1-}" != inside ]; then
  timeout 60 unshare -n "$0" inside
  exit
fi

echo "Linux $(uname -r), $(nft --version)"
listing=$(mktemp)
trap 'rm -f "$listing"' EXIT
# again declares a set by a key, lists it, and says whether the listing loads.
again() {
  nft flush ruleset
  nft -f - <<NFT
table netdev t {
	set s { typeof $1; size 9; flags dynamic; }
	chain c { $1 @s accept; }
}
NFT
  nft list ruleset >"$listing"
  nft flush ruleset
  how=$(grep -o 'type[of]* .*' "$listing" | head -1)
  if nft -f "$listing" 2>/dev/null; then echo "loads:         $how"; else echo "does not load: $how"; fi
}
four=$(again 'meta iif . @nh,96,32 . @nh,160,16 . @nh,176,16')
five=$(again 'meta iif . @nh,96,32 . @nh,72,8 . @nh,160,16 . @nh,176,16')
echo "expected: both listings load"
printf 'seen: %s\n      %s\n' "$four" "$five"
case $four in loads:*) ;; *) exit 1 ;; esac
case $five in "does not load:"*) ;; *) exit 1 ;; esac
