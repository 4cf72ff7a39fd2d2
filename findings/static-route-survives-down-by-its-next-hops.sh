#!/usr/bin/env bash
# "ip link set lan down" and "up" again: a static IPv4 route by that NIC is gone for good, but if it has a second next
# hop by another NIC, it survives, and its next hop by the first NIC is back in use by itself. Written with the same
# commands by the same administrator, the better default route (metric 10) is lost and the worse one (metric 20) heals.
# The NIC's address stays through it.
#
# Why it matters: after a flap the host has quietly changed its router; a program that keeps "the routes of the NIC"
# must not take what it read before for what comes back.
#
# Source: Linux net/ipv4/fib_semantics.c (fib_sync_down_dev frees a route when all its next hops are dead, fib_sync_up
# revives single ones); ip-route(8).
# Needs root, iproute2.
set -euo pipefail
[ "${1-}" = inside ] || exec timeout 60 unshare -n "$0" inside

echo "Linux $(uname -r), $(ip -V)"
for nic in lan dsl; do
  ip link add "$nic" type veth peer name "$nic-wire"
  ip link set "$nic" up
  ip link set "$nic-wire" up
done
ip address add 198.51.100.9/24 dev lan
ip address add 203.0.113.9/24 dev dsl
ip route add default via 198.51.100.1 dev lan metric 10
ip route add default metric 20 nexthop via 198.51.100.2 dev lan nexthop via 203.0.113.2 dev dsl

# defaults prints the default routes in one line.
defaults() { ip route show default | xargs; }
before=$(defaults)
ip link set lan down
down=$(defaults)
ip link set lan up
after=$(defaults)

balanced='default metric 20 nexthop via 198.51.100.2 dev lan weight 1'
echo "expected: both routes come back with the NIC, or neither next hop by it does"
echo "before:   $before"
echo "down:     $down"
echo "after:    $after"
[ "$before" = "default via 198.51.100.1 dev lan metric 10 $balanced nexthop via 203.0.113.2 dev dsl weight 1" ]
[ "$down" = "$balanced dead linkdown nexthop via 203.0.113.2 dev dsl weight 1" ]
[ "$after" = "$balanced nexthop via 203.0.113.2 dev dsl weight 1" ]
[ "$(ip -o -4 address show dev lan | grep -c 198.51.100.9/24)" = 1 ]
