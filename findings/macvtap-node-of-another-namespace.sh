#!/usr/bin/env bash
# The N of /dev/tapN is the macvtap device's interface index, which is unique in one network namespace only, and
# devtmpfs is one for all. Of two macvtap devices with the same index in two namespaces both are made without an error,
# and /dev/tapN is the first one's; the second has no node, and whoever opens "its" node reads and writes as the other
# machine. When the first is deleted the node goes, and the second still has none.
#
# Why it matters: namespaces made alike have the same indexes (each counts from 1), as containers that run VMs do, and
# test labs. Compare the node's number with /sys/class/net/DEVICE/tapN/dev, or make the node from that.
#
# Source: Linux drivers/net/macvtap.c (macvtap_device_event names the node by ifindex), drivers/base/devtmpfs.c (a node
# that exists is left alone; one is deleted by whoever's number it has).
# Needs root, a kernel with macvtap, devtmpfs on /dev, iproute2.
set -euo pipefail

index=$((3000000 + $$))
first=finding-$$-1
second=finding-$$-2
cleanup() {
  for namespace in "$first" "$second"; do
    if ip netns list | grep -w -- "$namespace" >/dev/null; then ip netns delete "$namespace"; fi
  done
}
trap cleanup EXIT

# guest makes a macvtap device of the given index in a namespace of its own.
guest() {
  ip netns add "$1"
  ip -n "$1" link add nic type veth peer name wire
  ip -n "$1" link add link nic name guest index "$index" type macvtap mode bridge
}
# device prints the number of the namespace's macvtap device, and node the one that /dev/tapN has.
device() { timeout 20 ip netns exec "$1" cat "/sys/class/net/guest/tap$index/dev"; }
node() {
  if [ -e "/dev/tap$index" ]; then
    printf '%d:%d\n' "0x$(stat -c %t "/dev/tap$index")" "0x$(stat -c %T "/dev/tap$index")"
  else
    echo none
  fi
}

echo "Linux $(uname -r), $(ip -V)"
guest "$first"
guest "$second"
one=$(device "$first")
two=$(device "$second")
both=$(node)
ip -n "$first" link delete guest
left=$(node)
still=$(device "$second")

echo "expected: a node for each device, or an error for the second one"
echo "seen:     devices $one and $two, /dev/tap$index is $both"
echo "          the first deleted: device $still, /dev/tap$index is $left"
[ "$one" != "$two" ]
[ "$both" = "$one" ]
[ "$left $still" = "none $two" ]
