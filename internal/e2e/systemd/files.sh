# Gives the calling mount namespace, whose process 1 this is, the files of a machine of its own that runs libvirt. Called
# in new namespaces; $1 is a directory to make in /run for units. What else the machine is to have follows this script,
# and then systemd.
mount --make-rprivate /
mount -t proc proc /proc
mount -t sysfs sysfs /sys # that of the network namespace
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p "$1" /run/lock /run/etc
cp -a /etc/. /run/etc
mount --bind /run/etc /etc
rm -rf /etc/libvirt /etc/macvtap-filter /etc/systemd /etc/machine-id
mkdir -p /etc/libvirt
for dir in /var/lib/libvirt /var/cache/libvirt /var/log /usr/local/sbin /usr/local/lib; do
    mount -t tmpfs -o mode=755 tmpfs "$dir"
done
# Process 1 sets and writes to what belongs to the whole machine, unless it cannot.
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount --bind /dev/null /dev/console
mount --bind /dev/null /dev/kmsg

cp /lib/systemd/system/systemd-journald.service /lib/systemd/system/systemd-journald.socket "$1"
mkdir /etc/systemd
printf '[Journal]\nStorage=volatile\nReadKMsg=no\n' >/etc/systemd/journald.conf
echo 6d6163767461400080006669746c6572 >/etc/machine-id
# A socket as distributions have it, which the service may open as its owner only.
cat >/etc/libvirt/libvirtd.conf <<END
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "libvirt"
unix_sock_rw_perms = "0770"
host_uuid = "6d616376-7461-4000-8000-66696c746572"
END
cat >/etc/libvirt/qemu.conf <<END
security_driver = "none"
user = "root"
group = "root"
cgroup_controllers = [ ]
stdio_handler = "file"
namespaces = [ ]
remember_owner = 0
END
cat >"$1/libvirtd.service" <<END
[Unit]
DefaultDependencies=no
[Service]
Type=notify
ExecStart=/usr/sbin/libvirtd
KillMode=process
END
for target in basic sysinit multi-user network shutdown sockets; do
    printf '[Unit]\nDefaultDependencies=no\n' >"$1/$target.target"
done
printf '[Unit]\nRequires=multi-user.target\nWants=systemd-journald.service\n' >"$1/default.target"
