# An administrator's host: its own /usr and package databases, which show the machine's until something is installed; no
# units but those of the machine; and the project's source in /usr/src, as git would check it out. $3 is the checkout.
for dir in /usr /var/cache /var/lib/apt /var/lib/dpkg; do
    at=/run/own$dir
    mkdir -p "$at/upper" "$at/work"
    chown --reference="$dir" "$at/upper"
    mount -t overlay -o "lowerdir=$dir,upperdir=$at/upper,workdir=$at/work" overlay "$dir"
done
mount -t tmpfs -o mode=755 tmpfs /usr/lib/systemd/system
# What the machine that tests has of its own: where its packages come from, how its apt works, that a container starts no
# services; and that virsh asks polkit, without which it would say that it cannot.
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/apt.conf.d /usr/sbin/policy-rc.d /usr/bin/pkttyagent
mkdir /etc/apt/sources.list.d /etc/apt/apt.conf.d
echo 'Binary::apt::Dpkg::Progress-Fancy "0"; Dpkg::Progress-Fancy "0"; Dpkg::Progress "0";' >/etc/apt/apt.conf.d/99terminal # one that can only write
mkdir -p /usr/src/macvtap-filter /run/own/checkout/upper /run/own/checkout/work
mount -t overlay -o "lowerdir=$3,upperdir=/run/own/checkout/upper,workdir=/run/own/checkout/work" overlay /usr/src/macvtap-filter
rm -rf /usr/src/macvtap-filter/bin/packages
# A link in place of the file would lead out of the machine's /etc.
rm -f /etc/resolv.conf
echo 'nameserver 192.168.2.1' >/etc/resolv.conf
