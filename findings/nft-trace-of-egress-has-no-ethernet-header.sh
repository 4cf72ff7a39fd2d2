#!/usr/bin/env bash
# "nft monitor trace" shows a frame with its Ethernet header where a netdev chain at ingress traces it, and without any where one
# at egress does, though rules of that very chain match "ether saddr" and "ether type": for the trace the kernel takes what
# lies between the MAC header and the data, and at egress the data still begin at the MAC header. Without it nft does not know
# what comes next either, and prints the rest as raw bits.
#
# Why it matters: who traces what leaves a device (a guest's macvtap or tap, a container's veth) never sees which MAC
# address a frame came from or went to; what reads these messages by a library gets no link header, and takes it for
# a device without one.
#
# Source: Linux net/netfilter/nf_tables_trace.c (nf_trace_fill_pkt_info), net/core/dev.c (egress before the device's xmit).
# Needs root, Linux 5.16 or later, nftables (seen with 1.0.6), iproute2, python3 (its standard library).
set -euo pipefail

if [ "${1-}" != inside ]; then
  timeout 60 unshare -n "$0" inside
  exit
fi

echo "Linux $(uname -r), $(nft --version)"
sysctl -qw net.ipv6.conf.default.disable_ipv6=1
ip link add near type veth peer name far
ip link set near up
ip link set far up
nft -f - <<'NFT'
table netdev t {
	chain leaves {
		type filter hook egress device "near" priority 0; policy accept;
		ether saddr 02:00:00:00:00:01 meta nftrace set 1
	}
	chain comes {
		type filter hook ingress device "far" priority 0; policy accept;
		ether saddr 02:00:00:00:00:01 meta nftrace set 1
	}
}
NFT
seen=$(mktemp)
nft monitor trace >"$seen" &
monitor=$!
trap 'kill $monitor 2>/dev/null || true; rm -f "$seen"' EXIT
for _ in $(seq 50); do
  python3 - <<'PY'
import socket, struct
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("near", 0))
ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, b"\xc0\0\2\1", b"\xc0\0\2\2")
s.send(b"\2\0\0\0\0\2" + b"\2\0\0\0\0\1" + b"\x08\0" + ip + struct.pack("!HHHH", 1, 2, 8, 0))
PY
  if grep -q 'comes packet' "$seen" && grep -q 'leaves packet' "$seen"; then break; fi
  sleep 0.1
done
of() { grep -m 1 "$1 packet" "$seen" | sed 's/^trace id [0-9a-f]* //'; }
leaves=$(of leaves)
comes=$(of comes)
echo "expected: ether saddr 02:00:00:00:00:01 and ip saddr 192.0.2.1 in both"
printf 'seen: %s\n      %s\n' "$leaves" "$comes"
case $comes in *"ether saddr 02:00:00:00:00:01"*) ;; *) exit 1 ;; esac
case $leaves in *ether* | *"ip saddr"*) exit 1 ;; *"@nh,0,160 0x45"*) ;; *) exit 1 ;; esac
