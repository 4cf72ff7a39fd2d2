#!/usr/bin/env bash
# systemd-networkd takes no DHCPv6 address at all from a server that names the time of renewal (T1) and leaves that of
# rebinding (T2) to the client, by 0. It takes 0 for a time, finds T1 > T2, and drops the address with the Advertise. By the
# standard 0 is "at the discretion of the client", and only T1 > T2 of two times that are not 0 is invalid. ISC dhcpd sends
# just that as soon as "option dhcp-renewal-time" stands alone: T2 has no default of its own, while without the option both
# are 0, which networkd takes.
#
# Why it matters: one line in the server's configuration, which its other clients are fine with (dhclient, dhcpcd), takes
# all networkd hosts off IPv6 at their next boot. networkd logs nothing of it unless it logs debug messages; the server's
# log shows an address picked and advertised again and again. Cure: "option dhcp-rebinding-time" beside it.
#
# Source: RFC 8415, 21.4 (T1, T2 of 0; "if T1 is greater than T2 and both are greater than 0"), 14.2; systemd
# src/libsystemd-network/dhcp6-option.c, dhcp6_option_parse_ia; dhcpd.conf(5), dhcp-options(5).
# Needs root, iproute2, apt with Debian 12's lists; the packages are unpacked in a temporary folder, and nothing is installed.
set -euo pipefail

if [ "${1-}" != inside ]; then
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  (cd "$dir" && apt-get -q -o APT::Sandbox::User=root download isc-dhcp-server=4.4.3-P1-2 systemd=252.39-1~deb12u2 >/dev/null && for deb in *.deb; do dpkg -x "$deb" root; done)
  timeout 120 unshare --mount --net --pid --fork --kill-child --mount-proc bash "$0" inside "$dir"
  exit
fi

dir=$2
mount --make-rprivate /
mount -t tmpfs none /run
mount -t tmpfs none /etc/systemd/network # only in here
unshare --net sleep 110 &
client=$!
until [ "$(readlink /proc/$client/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
ip link set lo up
ip link add server type veth peer name client netns $client
ip link set server up
ip address add fe80::1/64 dev server nodad
ip address add 2001:db8::1/64 dev server nodad
nsenter --target $client --net ip link set client up
install -d -o systemd-network -g systemd-network /run/systemd/netif /run/systemd/netif/links /run/systemd/netif/leases
printf '[Match]\nName=client\n[Network]\nDHCP=ipv6\nIPv6AcceptRA=no\n[DHCPv6]\nWithoutRA=solicit\nUseDelegatedPrefix=no\n' >/etc/systemd/network/client.network
# With a /sys that can be written it waits for udev.
nsenter --target $client --net sh -c "mount -t sysfs none /sys && mount -o remount,ro /sys && SYSTEMD_LOG_LEVEL=debug exec '$dir/root/lib/systemd/systemd-networkd'" >"$dir/networkd" 2>&1 &

# serve runs the server with a further line until the client has an address, or has asked three times.
serve() {
  printf 'authoritative;\ndefault-lease-time 600;\n%s\nsubnet6 2001:db8::/64 { range6 2001:db8::1:0/112; }\n' "$1" >"$dir/conf"
  : >"$dir/leases"
  "$dir/root/usr/sbin/dhcpd" -6 -d -f --no-pid -cf "$dir/conf" -lf "$dir/leases" server >"$dir/log" 2>&1 &
  local pid=$! got=none
  for _ in $(seq 400); do
    if nsenter --target $client --net ip -6 address show dev client | grep -q 2001:db8::1:; then got=address; break; fi
    if [ "$(grep -c 'Sending Advertise' "$dir/log")" -ge 3 ]; then break; fi
    sleep 0.1
  done
  kill $pid
  wait $pid 2>/dev/null || true
  echo $got
}

"$dir/root/usr/sbin/dhcpd" --version 2>&1 | sed -n 1p
"$dir/root/lib/systemd/systemd-networkd" --version | sed -n 1p
alone=$(serve 'option dhcp-renewal-time 100;')
both=$(serve 'option dhcp-renewal-time 100; option dhcp-rebinding-time 200;')
grep -m 1 -o 'Received an IA option with T1.*' "$dir/networkd"
echo "expected: an address with dhcp-renewal-time alone, and with dhcp-rebinding-time beside it"
echo "seen:     $alone, and $both"
[ "$alone" = none ] && [ "$both" = address ] && grep -q 'T1 100sec > T2 0sec' "$dir/networkd"
