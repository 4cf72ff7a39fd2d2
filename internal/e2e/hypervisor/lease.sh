#!/bin/sh
# What udhcpc(8) calls in the guest when a lease comes or goes: takes the address on, and tells the agent.
export PATH=/bin
case $1 in
bound)
    ip addr flush dev "$interface" scope global to 0.0.0.0/0
    ip addr add "$ip/${mask:-24}" brd + dev "$interface"
    # Answers leave by the NIC that was asked, as with fixed addresses.
    for where in "table 9" "metric 9"; do
        ip route add "$router/32" dev "$interface" $where
        ip route add default via "$router" dev "$interface" $where
    done
    ip rule add from "$ip" lookup 9
    ;;
renew) ;;
*) exit 0 ;;
esac
echo "$1 $ip $serverid" >>"/lease.$interface"
