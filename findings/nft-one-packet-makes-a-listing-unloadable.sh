#!/usr/bin/env bash
# A listing of nft that loads is one packet away from a listing that does not. An element written with a timeout of its
# own ("198.51.100.2 timeout 30s") that a rule then updates for longer ("update @seen { ip saddr timeout 10m }") is
# listed as "timeout 30s expires 9m59s", and the kernel refuses an element that expires later than its timeout: ERANGE,
# for the whole file. And "timeout 0s" in such a set is not "never", but the set's own timeout.
#
# Why it matters: rules saved at shutdown and loaded at boot: the host starts without any, because of a datagram that
# came in weeks before.
#
# Source: nft(8), SETS (timeout) and SET STATEMENT; Linux net/netfilter/nft_dynset.c (nft_dynset_eval sets the
# expiration anew), net/netfilter/nf_tables_api.c (nft_add_set_elem compares it with the timeout).
# Needs root, nft, iproute2.
set -euo pipefail
[ "${1-}" = inside ] || exec timeout 60 unshare -n "$0" inside "$(mktemp)"
trap 'rm -f "$2"' EXIT

echo "Linux $(uname -r), $(nft --version)"
ip link add near address 02:00:00:00:00:01 type veth peer name far
ip link set near up
ip link set far up
ip address add 198.51.100.2/24 dev far
ip neighbour add 198.51.100.1 lladdr 02:00:00:00:00:01 dev far nud permanent
nft -f - <<'NFT'
table netdev t {
  set seen {
    type ipv4_addr
    flags dynamic,timeout
    timeout 1h
    elements = { 198.51.100.2 timeout 30s, 192.0.2.1 timeout 0s }
  }
  chain c {
    type filter hook ingress device "near" priority filter; policy accept;
    udp dport 9 update @seen { ip saddr timeout 10m }
  }
}
NFT

# reload loads the listing in place of what stands, in one transaction, and prints "loads" or nft's error.
reload() {
  { echo flush ruleset && nft list ruleset; } >"$1"
  local said
  if said=$(nft -f "$1" 2>&1); then echo loads; else sed -n 's/.*Error: //p' <<<"$said"; fi
}
element() { nft list ruleset | tr '{},' '\n' | grep "$1" | xargs; }
before=$(reload "$2")
never=$(element 192.0.2.1)
echo >/dev/udp/198.51.100.1/9
sleep 0.2
updated=$(element 198.51.100.2)
after=$(reload "$2")

echo "expected: a listing loads, before the datagram and after it"
echo "seen:     before: $before; after: $after"
echo "          the element then: $updated"
echo "          the one with timeout 0s: $never"
[ "$before" = loads ]
[[ "$after" = *"out of range" ]]
[[ "$updated" = *"timeout 30s expires 9m"* ]]
[[ "$never" = "192.0.2.1 expires 59m"* ]]
