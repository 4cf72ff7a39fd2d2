#!/usr/bin/env bash
# nftables: "size" of a set with "flags dynamic" or "timeout" is no bound alone. The kernel takes it for the number of
# elements to come and makes a hash table of that size when the set is declared: 1 MiB or more for each "size 65535",
# which is the number in many examples, and which nft writes by itself into a set that rules update and that names none.
# One more costs nothing: the hint has 16 bits, so that "size 65536" and its multiples are 0 there, and the table begins
# small and grows with what is added.
#
# Why it matters: four such sets for each VM, container or zone are 4 MiB of the kernel's memory that cannot be swapped,
# before the first packet; "nft list ruleset" shows sets without any element.
#
# Source: net/netfilter/nft_set_hash.c, nft_rhash_init (rhashtable's nelem_hint is the set's size); lib/rhashtable.c,
# rounded_hashtable_size; include/linux/rhashtable-types.h, struct rhashtable_params. Needs root, nft; makes 200 MiB of kernel memory for a moment, in a namespace of its own.
set -euo pipefail
[ "${1-}" = inside ] || exec unshare --net "$0" inside

nft --version
uname -r
sets=200

# used gives what of the memory, in KiB, is in use by the kernel and not for files.
used() {
  sync
  awk '/^(MemFree|Buffers|Cached|SReclaimable|AnonPages):/ { n += $2 } /^MemTotal:/ { total = $2 } END { print total - n }' /proc/meminfo
}

# declare makes the sets, each of a size, and says how much memory one takes.
declare_sets() {
  local before after
  nft add table netdev sizes
  before=$(used)
  for i in $(seq $sets); do echo "add set netdev sizes s$i { type ether_addr; size $1; flags dynamic; }"; done | nft -f -
  after=$(used)
  nft delete table netdev sizes
  echo $(((after - before) / sets))
}

small=$(declare_sets 16)
large=$(declare_sets 65535)
larger=$(declare_sets 65536)
nft -f - <<'NFT'
table netdev sizes {
  set s { type ether_addr; flags dynamic; }
  chain c {
    update @s { ether saddr }
  }
}
NFT
written=$(nft list table netdev sizes | grep -o 'size [0-9]*' || true)
echo "an empty set of size 16: $small KiB; of size 65535: $large KiB; of size 65536: $larger KiB; a set that rules update and no size: \"$written\""
[ "$large" -gt 700 ] && [ "$small" -lt 200 ] && [ "$larger" -lt 200 ] && [ "$written" = 'size 65535' ] || { echo "this has changed"; exit 1; }
