#!/usr/bin/env bash
# A netdev base chain follows a device's name, not the device. Renamed, a device is out of the chain at once, and
# whatever later takes the old name is in it, its first frame included, without anybody loading a rule. The listing is
# the same before, between and after.
#
# Why it matters: udev and systemd rename devices at boot; a rule that stands in the listing judges nothing, or judges
# the frames of a stranger.
#
# Source: Linux net/netfilter/nft_chain_filter.c (nf_tables_netdev_event, NETDEV_CHANGENAME and NETDEV_REGISTER),
# net/netfilter/nf_tables_api.c (nft_hook, matched by the name that the user gave).
# Needs root, Linux >= 6.16, nft, iproute2.
set -euo pipefail
[ "${1-}" = inside ] || exec timeout 60 unshare -n "$0" inside

echo "Linux $(uname -r), $(nft --version)"
# pair makes a veth pair, both ends up.
pair() {
  ip link add "$1" address 02:00:00:00:00:01 type veth peer name "$2" address 02:00:00:00:00:02
  ip link set "$1" up
  ip link set "$2" up
}
# frame sends one datagram to 198.51.100.1 from the device.
frame() {
  ip address replace 198.51.100.2/24 dev "$1"
  ip neighbour replace 198.51.100.1 lladdr 02:00:00:00:00:01 dev "$1"
  echo >/dev/udp/198.51.100.1/9
  sleep 0.2
  ip address flush dev "$1"
}
count() { nft list ruleset | sed -n 's/.*counter packets \([0-9]*\).*/\1/p'; }
listing() { nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//'; }

pair wan0 peer0
nft -f - <<'NFT'
table netdev t {
  chain c {
    type filter hook ingress device "wan0" priority filter; policy accept;
    udp dport 9 counter
  }
}
NFT
before=$(listing)
frame peer0
first=$(count)

ip link set wan0 down
ip link set wan0 name lan0
ip link set lan0 up
[ "$(listing)" = "$before" ]
frame peer0
renamed=$(($(count) - first))

pair wan0 peer1
[ "$(listing)" = "$before" ]
frame peer1
stranger=$(($(count) - first - renamed))

echo "expected: 1 frame of the device judged, 1 after it was renamed, 0 of another device that takes the name"
echo "seen:     $first, $renamed, $stranger; the listing did not change"
[ "$first $renamed $stranger" = "1 0 1" ]
