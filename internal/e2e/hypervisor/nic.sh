#!/bin/sh
# Configures a NIC: NAME,IPv4/LEN,NETWORK,GATEWAY,IPv6/LEN,NETWORK,GATEWAY. Answers leave by the NIC that was asked: each
# has a routing table of its own, which has the number of the NIC.
set -e
export PATH=/bin
IFS=,
set -- $1
unset IFS
nic=$1 v4=$2 net4=$3 gateway4=$4 v6=$5 net6=$6 gateway6=$7
read -r table <"/sys/class/net/$nic/ifindex"
ip link set "$nic" up
ip addr add "$v4" brd + dev "$nic"
ip -6 addr add "$v6" dev "$nic"
for where in "table $table" "metric $table"; do
    ip route add "$net4" dev "$nic" $where
    ip route add default via "$gateway4" dev "$nic" $where
    ip -6 route add "$net6" dev "$nic" $where
    ip -6 route add default via "$gateway6" dev "$nic" $where
done
ip rule add from "${v4%/*}" lookup "$table"
ip -6 rule add from "${v6%/*}" lookup "$table"

# As any system does, the kernel first asks whether an IPv6 address is taken (RFC 4862, 5.4): until then it is of no use.
while ip -6 addr show dev "$nic" | grep -v dadfailed | grep -q tentative; do
    usleep 100000
done
