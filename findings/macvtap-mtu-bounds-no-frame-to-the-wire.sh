#!/usr/bin/env bash
# The MTU of a macvtap device bounds no frame that a guest sends, nor one that it gets: with an MTU of 1,500 on the device,
# frames of 5,000 bytes leave it for the wire, and come in by another guest's. With 1,500 on the parent, too, the guest's
# frame of 5,000 bytes still leaves by the parent; the same frame to another guest on that parent is lost. The sending
# device counts it as sent, the receiving one nothing, and the parent as a *received* frame that was dropped, though
# nothing came from outside. When the parent's MTU goes down, the devices' goes with it; when it goes up again, theirs
# stays.
#
# Why it matters: whoever lowers a macvtap device's MTU to bound a guest bounds nothing; whoever debugs guests that reach
# the world and not each other (jumbo frames in the guest, not on the host) looks at every counter but the right one.
#
# Source: Linux drivers/net/tap.c (tap_get_user), drivers/net/macvlan.c (macvlan_queue_xmit hands a frame for another guest
# to dev_forward_skb with the parent; macvlan_device_event, NETDEV_CHANGEMTU), include/linux/netdevice.h
# (__is_skb_forwardable).
# Needs root, a kernel with macvtap and veth, iproute2, python3 (its standard library). /dev must be a devtmpfs.
set -euo pipefail

if [ "${1-}" != inside ]; then
  timeout 60 unshare -n "$0" inside
  exit
fi

echo "Linux $(uname -r), $(ip -V)"
sysctl -qw net.ipv6.conf.default.disable_ipv6=1
index=$((4000000 + $$ * 2)) # /dev/tapN is one for all namespaces
ip link add parent mtu 9000 type veth peer name wire mtu 9000 address 02:00:00:00:00:03
ip link set wire up
ip link set parent up
for n in 1 2; do
  ip link add link parent name guest$n index $((index + n)) address 02:00:00:00:00:0$n mtu 1500 type macvtap mode bridge
  ip link set guest$n up
done

# send has each side send one frame of 5,000 bytes, and says which of them arrive.
send() {
  python3 - <<'PY'
import fcntl, os, select, socket, struct

def guest(name):
    file = os.open("/dev/tap%d" % socket.if_nametoindex(name), os.O_RDWR)
    fcntl.ioctl(file, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1002))  # TUNSETIFF: IFF_TAP, IFF_NO_PI
    return file

kind = 0x88B5  # for experiments (IEEE 802)
one, two = guest("guest1"), guest("guest2")
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
wire.bind(("wire", kind))

def frame(to, source):
    return b"\2\0\0\0\0%c\2\0\0\0\0%c%s%s" % (to, source, struct.pack("!H", kind), b"x" * (5000 - 14))

def arrives(at, read):
    return len(read()) if select.select([at], [], [], 5)[0] else 0

seen = []
os.write(one, frame(3, 1))
seen.append("to the wire %d" % arrives(wire, lambda: wire.recv(65536)))
os.write(one, frame(2, 1))
seen.append("to the other guest %d" % arrives(two, lambda: os.read(two, 65536)))
print(", ".join(seen))
PY
}
count() { awk -v device="$1:" -v field="$2" '$1 == device { print $field }' /proc/self/net/dev; }
counts() { echo "guest1 sent $(count guest1 11), guest2 dropped $(count guest2 5), parent received and dropped $(count parent 5)"; }
mtu() { ip -o link show "$1" | sed -E 's/.* mtu ([0-9]+) .*/\1/'; }

echo "expected: nothing of 5,000 bytes passes a device with an MTU of 1,500"
large=$(send)
echo "seen, guests' MTU $(mtu guest1), parent's $(mtu parent): $large; $(counts)"
before=$(counts)
ip link set parent mtu 1500
small=$(send)
echo "seen, guests' MTU $(mtu guest1), parent's $(mtu parent): $small; $(counts)"
[ "$large" = "to the wire 5000, to the other guest 5000" ]
[ "$before" = "guest1 sent 2, guest2 dropped 0, parent received and dropped 0" ]
[ "$small" = "to the wire 5000, to the other guest 0" ]
[ "$(counts)" = "guest1 sent 4, guest2 dropped 0, parent received and dropped 1" ]

ip link set guest1 mtu 1400
ip link set parent mtu 1300
lowered=$(mtu guest1)
ip link set parent mtu 9000
echo "seen, the parent's MTU 1300, then $(mtu parent): the guest's $lowered, then $(mtu guest1)"
[ "$lowered $(mtu guest1)" = "1300 1300" ]
