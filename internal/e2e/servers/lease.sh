#!/bin/sh
# What udhcpc(8) and dhclient-script(8) call when a lease comes or goes: takes the addresses on, and lets them go.
# udhcpc names the event by its argument, dhclient by a variable.
nic=eth0
case ${1-}${reason-} in
bound | renew | BOUND | RENEW | REBIND | REBOOT)
    ip addr replace "${ip-$new_ip_address}/24" dev "$nic"
    ip route replace default via "${router-$new_routers}" dev "$nic"
    ;;
BOUND6 | RENEW6 | REBIND6)
    ip -6 addr replace "$new_ip6_address/${new_ip6_prefixlen:-128}" dev "$nic"
    ;;
deconfig | PREINIT | EXPIRE | FAIL | RELEASE | STOP)
    ip link set "$nic" up
    ip -4 addr flush dev "$nic"
    ;;
PREINIT6 | EXPIRE6 | FAIL6 | RELEASE6 | STOP6)
    ip link set "$nic" up
    ip -6 addr flush dev "$nic" scope global
    ;;
esac
