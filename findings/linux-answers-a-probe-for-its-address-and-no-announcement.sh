#!/usr/bin/env bash
# Linux, asked by ARP for an address that it has, answers a probe (sender 0.0.0.0), and says nothing to an announcement
# (sender and target are the address), a request like the other, sent by somebody else who takes the address. Not because it
# ignores what is announced: the request's sender is a source that the routing table takes for the host's own, a martian,
# and a request whose route look-up fails is not answered. With net.ipv4.conf.DEVICE.accept_local=1 it is.
#
# Why it matters: whoever looks for the owner of an address by announcing it, and waits for an objection, as address
# conflict detection has hosts defend theirs, hears of no Linux host. Only a probe finds it.
#
# Source: Linux net/ipv4/arp.c (arp_process: sip == 0 is answered before the look-up, ip_route_input_noref for the rest),
# net/ipv4/fib_frontend.c (__fib_validate_source); RFC 5227, 2.1.1 and 2.4.
# Needs root, iproute2, python3 (its standard library).
set -euo pipefail

if [ "${1-}" != inside ]; then
  timeout 60 unshare --net bash "$0" inside
  exit
fi

echo "Linux $(uname -r)"
ip link add host type veth peer name wire address 02:00:00:00:00:99
for device in host wire; do
  sysctl -qw "net.ipv6.conf.$device.disable_ipv6=1"
  ip link set "$device" up
done
ip address add 192.0.2.77/24 dev host

# answered sends a request for the host's address from a sender's, then one that it always answers, and tells whether
# the first was answered before.
answered() {
  python3 - "$1" <<'PY'
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
s.bind(("wire", 0x0806))
s.settimeout(30)
mac = bytes.fromhex("020000000099")
def ask(sender):
    s.send(b"\xff" * 6 + mac + bytes.fromhex("0806" "0001080006040001") + mac + socket.inet_aton(sender) + bytes(6) + socket.inet_aton("192.0.2.77") + bytes(18))
def reply_to():
    while True:
        frame, address = s.recvfrom(2000)
        if address[2] != socket.PACKET_OUTGOING and frame[20:22] == b"\0\2":
            return socket.inet_ntoa(frame[38:42])
ask(sys.argv[1])
ask("192.0.2.9") # the host answers in order
first = reply_to()
print("yes" if first == sys.argv[1] else "no")
PY
}

probe=$(answered 0.0.0.0)
other=$(answered 192.0.2.8)
announcement=$(answered 192.0.2.77)
sysctl -qw net.ipv4.conf.host.accept_local=1
local=$(answered 192.0.2.77)
echo "expected: whoever has an address answers each request for it"
echo "seen: a probe is answered: $probe; a request of another host: $other; an announcement of the address itself: $announcement; with accept_local: $local"
[ "$probe $other $announcement $local" = "yes yes no yes" ]
