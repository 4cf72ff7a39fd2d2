#!/usr/bin/env bash
# A verdict map that many base chains look into is validated once for each of them, and that again in every transaction
# that adds so little as one rule to the table. With 1,000 base chains and 3 elements of the map for each, adding a rule
# "accept" to a chain that nothing jumps to costs the kernel many times what it costs where every base chain has three
# rules "goto" of its own, which decide the same.
#
# Why it matters: one map in place of many rules is good for frames, but the time of a change grows with base chains
# times elements: with a chain and three elements a device, by the square of the number of devices. No other change of
# rules gets in meanwhile.
#
# Source: Linux net/netfilter/nf_tables_api.c (nft_table_validate goes from every base chain down, nft_setelem_validate
# into the chain of each element), net/netfilter/nft_lookup.c (nft_lookup_validate walks the whole map).
# Needs root, Linux >= 5.16 (egress), nft. What is compared is processor time, not the time that passes.
set -euo pipefail
[ "${1-}" = inside ] || exec timeout 300 unshare -n "$0" inside

chains=1000 # a hook of a device takes at most 1,024
changes=10

# layout prints a table of base chains that look into one map, or else have rules of their own. The base chains stand on
# one device, which is always there; their keys are names that need no device.
layout() {
  local n type
  echo "table netdev t {"
  for ((n = 0; n < chains; n++)); do
    for type in ip ip6 arp; do printf 'chain %s-%d {\n}\n' "$type" "$n"; done
  done
  if [ "$1" = map ]; then
    echo "map m { type ifname . ether_addr . ether_type : verdict; elements = {"
    for ((n = 0; n < chains; n++)); do
      for type in ip ip6 arp; do echo "\"d$n\" . 02:00:00:00:00:01 . $type : goto $type-$n,"; done
    done
    printf '}\n}\n'
  fi
  for ((n = 0; n < chains; n++)); do
    echo "chain base-$n { type filter hook egress device \"lo\" priority filter; policy accept;"
    if [ "$1" = map ]; then
      echo "oifname . ether saddr . ether type vmap @m"
    else
      for type in ip ip6 arp; do
        echo "oifname \"d$n\" ether saddr 02:00:00:00:00:01 ether type $type goto $type-$n"
      done
    fi
    echo "}"
  done
  echo "chain aside {"
  printf '}\n}\n'
}

# cost loads a layout and gives the milliseconds that the kernel then works for the changes.
cost() {
  nft flush ruleset
  layout "$1" | nft -f -
  local n TIMEFORMAT=%S
  { time for ((n = 0; n < changes; n++)); do nft add rule netdev t aside accept; done; } 2>&1 | tr -d .
}

map=$((10#$(cost map)))
rules=$((10#$(cost rules)))
echo "Linux $(uname -r), $(nft --version)"
echo "expected: adding a rule costs the same beside both layouts"
echo "seen:     $changes changes beside $chains base chains that look into one map: $map ms of the kernel's time"
echo "          $changes changes beside $chains base chains with their own rules:   $rules ms"
[ "$map" -gt $((5 * rules)) ]
