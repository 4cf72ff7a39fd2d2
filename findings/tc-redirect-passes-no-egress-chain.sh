#!/usr/bin/env bash
# A netdev chain at egress of a device sees what the host sends by that device, and what "fwd to" and "dup to" of nft send by
# it, but no frame that tc redirects or mirrors to it as it comes in by another device ("action mirred egress redirect"): such
# a frame leaves the device and no chain has counted it. It is so by design: tc lies below netfilter, what comes in is seen
# by tc first, and what tc sends on from there stays below; the frame carries a mark that says so until it is sent.
#
# Why it matters: a redirect by tc and one by nft do the same with a frame, and one word in the rules of another device
# decides whether this device's rules hold. A count at egress is not a count of what leaves.
#
# Source: Linux include/linux/netfilter_netdev.h (nf_hook_egress, nf_skip_egress), net/core/dev.c; tc-mirred(8); nft(8),
# "FWD STATEMENT" and "DUP STATEMENT".
# Needs root, Linux 5.16 or later with act_mirred and cls_u32, nftables (seen with 1.0.6), iproute2, python3 (its standard library).
set -euo pipefail

[ "${1-}" = inside ] || exec timeout 60 unshare -n "$0" inside

echo "Linux $(uname -r), $(nft --version), $(tc -V)"
sysctl -qw net.ipv6.conf.default.disable_ipv6=1
for name in in out; do
  ip link add $name type veth peer name far$name
  ip link set $name up
  ip link set far$name up
done
tc qdisc add dev in clsact

# frames sends three by the device, and says how many of them come to the far end of "out", and how many the chain counts.
frames() {
  local arrived
  arrived=$(python3 - "$1" <<'PY'
import socket, sys
kind = 0x88B5  # for experiments (IEEE 802)
end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
end.bind(("farout", kind))
end.settimeout(5)
sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sender.bind((sys.argv[1], kind))
n = 0
for _ in range(3):
    sender.send(b"\2\0\0\0\0\1\2\0\0\0\0\2\x88\xb5" + bytes(46))
    try:
        end.recv(2048)
        n += 1
    except TimeoutError:
        pass
print(n)
PY
)
  echo "$arrived, counted $(nft list chain netdev t leaving | sed -n 's/.*counter packets \([0-9]*\).*/\1/p')"
}
# rules loads the chain at egress of "out", and one at ingress of "in" with a statement.
rules() {
  nft -f - <<NFT
flush ruleset
table netdev t {
	chain leaving {
		type filter hook egress device "out" priority 0; policy accept;
		ether type 0x88b5 counter
	}

	chain coming {
		type filter hook ingress device "in" priority 0; policy accept;
		ether type 0x88b5 $1
	}
}
NFT
}

rules accept
sent=$(frames out)
rules 'fwd to "out"'
forwarded=$(frames farin)
rules 'dup to "out"'
copied=$(frames farin)
rules accept
tc filter add dev in ingress protocol all u32 match u32 0 0 action mirred egress redirect dev out
redirected=$(frames farin)
tc filter delete dev in ingress
rules accept
tc filter add dev in ingress protocol all u32 match u32 0 0 action mirred egress mirror dev out
mirrored=$(frames farin)
echo "expected: of three frames that leave by the device, arrived 3, counted 3, however they came to it"
echo "seen:     arrived: sent by the host: $sent; nft's fwd: $forwarded; nft's dup: $copied"
echo "          tc's redirect: $redirected; tc's mirror: $mirrored"
[ "$sent" = "3, counted 3" ]
[ "$forwarded" = "3, counted 3" ]
[ "$copied" = "3, counted 3" ]
[ "$redirected" = "3, counted 0" ]
[ "$mirrored" = "3, counted 0" ]
