#!/usr/bin/env bash
# A transaction of nft that is refused has filtered all the same. Where it adds a device to a netdev base chain that
# stands, the chain gets that device's frames at once, not when the transaction is committed: with policy drop they are
# lost until the refusal takes the device out again. The rules are the same before and after. The same transaction with
# a new chain in place of the standing one loses nothing: a new chain lets all pass until it is committed.
#
# Why it matters: "nft -f is all or nothing" holds for the rules, and not for the frames of a device that is added; the
# same moment is there in a transaction that is accepted, with the chain's old rules for the new device.
#
# Source: Linux net/netfilter/nf_tables_api.c (nf_tables_updchain registers the hooks of added devices while it prepares
# the transaction; nft_chain_commit_drop_policy puts off the policy of a new chain).
# Needs root, Linux >= 6.4 (devices can be added), nft, iproute2.
set -euo pipefail
[ "${1-}" = inside ] || exec timeout 180 unshare -n "$0" inside "$(mktemp)"
trap 'rm -f "$2"' EXIT

echo "Linux $(uname -r), $(nft --version)"
ip link add near address 02:00:00:00:00:01 type veth peer name far
ip link add other type veth peer name others-peer
ip link set near up
ip link set far up
ip address add 198.51.100.2/24 dev far
ip neighbour add 198.51.100.1 lladdr 02:00:00:00:00:01 dev far nud permanent
nft add table netdev t
nft 'add chain netdev t standing { type filter hook ingress device "other" priority filter; policy drop; }'
before=$(nft list ruleset)

# refused prints a transaction that hooks the named chain to near, takes long and fails at its end.
refused() {
  echo "add chain netdev t $1 { type filter hook ingress device \"near\" priority filter; policy drop; }"
  echo "add set netdev t large { type ipv4_addr; }"
  echo "add element netdev t large {"
  local n
  for ((n = 0; n < 60000; n++)); do echo "10.0.$((n >> 8)).$((n & 255)),"; done
  echo "}"
  echo "delete chain netdev t nobody"
}

# datagrams gives how many IPv4 datagrams were sent in this network namespace, and how many came in.
datagrams() { awk '/^Ip: [0-9]/ { print $11, $4 }' /proc/net/snmp; }

# lost gives the number of datagrams that were sent, and of those that did not arrive, while nft was refused five times.
lost() {
  refused "$1" >"$2"
  local sent came sent_before came_before n flood refusals=0
  read -r sent_before came_before < <(datagrams)
  (exec 3>/dev/udp/198.51.100.1/9 && while :; do echo x >&3; done) >/dev/null 2>&1 &
  flood=$!
  for ((n = 0; n < 5; n++)); do
    nft -f "$2" >/dev/null 2>&1 || refusals=$((refusals + 1))
  done
  kill "$flood"
  wait "$flood" || true
  sleep 0.5
  [ "$refusals" = 5 ] || return 1
  read -r sent came < <(datagrams)
  echo "$((sent - sent_before)) $((sent - sent_before - came + came_before))"
}

new=$(lost new "$2")
standing=$(lost standing "$2")
after=$(nft list ruleset)
same=$([ "$before" = "$after" ] && echo the same || echo other)
echo "expected: a refused transaction loses no frame"
echo "seen, datagrams sent and lost meanwhile:"
echo "  a new chain with policy drop:                  $new"
echo "  a device is added to one with policy drop:     $standing"
echo "  the rules before and after: $same"
# Under load, a veth pair may lose a few itself.
[ "${standing#* }" -gt $((100 + 10 * ${new#* })) ]
[ "$same" = "the same" ]
