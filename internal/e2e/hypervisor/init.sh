#!/bin/sh
# The guest's /init: loads the modules, gives the NICs the addresses of the kernel's command line, runs the agent.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "$module"; done </modules.list

# Two NICs are on one network: each speaks for its own addresses only.
echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore
echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce
echo 0 >/proc/sys/net/ipv6/conf/default/accept_ra
for nic in /sys/class/net/eth*; do
    echo 0 >"/proc/sys/net/ipv6/conf/${nic##*/}/accept_ra"
done
ip link set lo up

# These NICs ask the network for their addresses: the kernel by router advertisements, the agent by DHCP. As on
# desktops, the kernel talks from a temporary one (RFC 8981).
for word in $(cat /proc/cmdline); do
    case $word in auto=*) ;; *) continue ;; esac
    conf=/proc/sys/net/ipv6/conf/${word#auto=}
    echo 1 >"$conf/accept_ra"
    echo 2 >"$conf/use_tempaddr"
    ip link set "${word#auto=}" up
done

for word in $(cat /proc/cmdline); do
    case $word in nic=*) /nic.sh "${word#nic=}" & ;; esac
done
wait

# The power button, which `virsh reboot` and `virsh shutdown` press.
mkdir -p /etc/acpi/PWRF
printf '#!/bin/sh\n/bin/poweroff -f\n' >/etc/acpi/PWRF/00000080
chmod +x /etc/acpi/PWRF/00000080
acpid -f -l /dev/null -p /acpid.pid &
echo configured
/agent
# The agent never ends by itself. Where emulation has lost memory while the guest was moved, it may: the guest begins anew.
reboot -f
