#!/usr/bin/env bash
# nft does not load its own JSON where an interface has an unlucky name: iifname "redirect" loads as text and is listed
# as "right": "redirect", and nft -j -f then takes that word for an ICMP type: "datatype mismatch". So it goes with ten
# names of protocols: tcp, udp, udplite, esp, ah, icmp, icmpv6, comp, dccp, sctp; and in a concatenation that a rule
# updates a set with. The parser looks at the word alone, before it knows what type is due. Only elements of sets may
# have such names: there the same words are read as what the set holds.
#
# Why it matters: the names of interfaces, or other words of the user's that end up in rules, decide whether a listing
# loads: of the whole file, nothing does.
#
# Source: nftables src/parser_json.c (json_parse_immediate, is_constant, json_parse_constant).
# Needs root, nft with JSON.
set -euo pipefail
[ "${1-}" = inside ] || exec timeout 60 unshare -n "$0" inside "$(mktemp)"
trap 'rm -f "$2"' EXIT

# reload makes a table of a rule's text, and gives what nft says when it loads the JSON that it has listed.
reload() {
  nft -f - <<NFT
flush ruleset
table netdev t {
  set s {
    typeof iif . iifname
    flags dynamic
  }
  chain c {
    $1
  }
}
NFT
  nft -j list ruleset >"$2"
  nft flush ruleset
  local said
  if said=$(nft -j -f "$2" 2>&1); then echo loads; else sed -n 's/.*Error: //p' <<<"$said"; fi
}

echo "$(nft --version)"
echo "expected: the listing of each loads"
echo "seen:"
refused=
for name in wan arp igmp tcp udp udplite esp ah icmp icmpv6 comp dccp sctp redirect; do
  said=$(reload "iifname \"$name\" drop" "$2")
  echo "  iifname \"$name\": $said"
  [ "$said" = loads ] || refused+=" $name"
done
wan=$(reload 'update @s { iif . "wan" }' "$2")
redirect=$(reload 'update @s { iif . "redirect" }' "$2")
element=$(reload 'iifname { "redirect", "tcp" } drop' "$2")
echo "  update @s { iif . \"wan\" }: $wan"
echo "  update @s { iif . \"redirect\" }: $redirect"
echo "  iifname { \"redirect\", \"tcp\" }: $element"
[ "$refused" = " tcp udp udplite esp ah icmp icmpv6 comp dccp sctp redirect" ]
[[ "$wan" = loads && "$redirect" = *"datatype mismatch"*"ICMP type"* && "$element" = loads ]]
