#!/usr/bin/env bash
# A netdev chain on an alternative name of a device ("ip link property add … altname") is accepted, listed, and never
# sees a frame. iproute2 takes such a name wherever it takes a name, and so does the kernel's rtnetlink.
#
# Why it matters: systemd gives every NIC alternative names (enp1s0, enx…), and they are what people copy into
# a ruleset.
#
# Source: ip-link(8), "altname"; nft(8), CHAINS; Linux net/netfilter/nf_tables_api.c (nft_netdev_hook_alloc).
# Needs root, Linux >= 6.16, nft, iproute2.
set -euo pipefail
[ "${1-}" = inside ] || exec timeout 60 unshare -n "$0" inside

echo "Linux $(uname -r), $(nft --version), $(ip -V)"
ip link add near address 02:00:00:00:00:01 type veth peer name far
ip link property add dev near altname uplink
ip link set uplink up # iproute2 knows it
ip link set far up
ip address add 198.51.100.2/24 dev far
ip neighbour add 198.51.100.1 lladdr 02:00:00:00:00:01 dev far nud permanent

# judged gives how many of three frames a chain on the name counts.
judged() {
  nft -f - <<NFT
flush ruleset
table netdev t {
  chain c {
    type filter hook ingress device "$1" priority filter; policy accept;
    udp dport 9 counter
  }
}
NFT
  nft list ruleset | grep "device \"$1\"" >/dev/null
  for _ in 1 2 3; do echo >/dev/udp/198.51.100.1/9; done
  sleep 0.2
  nft list ruleset | sed -n 's/.*counter packets \([0-9]*\).*/\1/p'
}

real=$(judged near)
alternative=$(judged uplink)
echo "expected: a chain on either name counts 3 of 3 frames, or the second is refused"
echo "seen:     $real on the name, $alternative on the alternative name, which is listed all the same"
[ "$real $alternative" = "3 0" ]
