#!/bin/sh
# The guest's /init: loads the modules, gives the NICs the addresses of the kernel's command line, runs the agent.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "$module"; done </modules.list

# Two NICs are on one network: each speaks for its own addresses only, and they are usable at once.
echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore
echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
echo 0 >/proc/sys/net/ipv6/conf/default/accept_ra
for nic in /sys/class/net/eth*; do
    echo 0 >"/proc/sys/net/ipv6/conf/${nic##*/}/accept_dad"
    echo 0 >"/proc/sys/net/ipv6/conf/${nic##*/}/accept_ra"
done
ip link set lo up

# These NICs ask the network for their addresses: the kernel by router advertisements, the agent by DHCP. As desktops do,
# the kernel first asks whether an address is taken, and talks from a temporary one (RFC 4862, 5.4; RFC 8981).
for word in $(cat /proc/cmdline); do
    case $word in auto=*) ;; *) continue ;; esac
    conf=/proc/sys/net/ipv6/conf/${word#auto=}
    echo 1 >"$conf/accept_ra"
    echo 1 >"$conf/accept_dad"
    echo 2 >"$conf/use_tempaddr"
    ip link set "${word#auto=}" up
done

# Answers leave by the NIC that was asked: each has a routing table of its own.
table=1
for word in $(cat /proc/cmdline); do
    case $word in nic=*) ;; *) continue ;; esac
    old=$IFS IFS=,
    set -- ${word#nic=}
    IFS=$old
    nic=$1 v4=$2 net4=$3 gateway4=$4 v6=$5 net6=$6 gateway6=$7
    ip link set "$nic" up
    ip addr add "$v4" brd + dev "$nic"
    ip -6 addr add "$v6" dev "$nic"
    for where in "table $table" "metric $table"; do
        ip route add "$net4" dev "$nic" $where
        ip route add default via "$gateway4" dev "$nic" $where
        ip -6 route add "$net6" dev "$nic" $where
        ip -6 route add default via "$gateway6" dev "$nic" $where
    done
    ip rule add from "${v4%/*}" lookup $table
    ip -6 rule add from "${v6%/*}" lookup $table
    table=$((table + 1))
done
echo configured
/agent
poweroff -f
