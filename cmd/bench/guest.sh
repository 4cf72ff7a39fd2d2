#!/bin/sh
# The guest's /init: one NIC, with the addresses of the site, and iperf3's server.
export PATH=/usr/bin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "$module"; done </modules.list
ip link set lo up
ip address add 192.168.2.201/24 dev eth0
ip link set eth0 up
ip route add default via 192.168.2.1
echo guest-is-ready
while iperf3 --server --interval 0 >/dev/null; do :; done
poweroff -f
