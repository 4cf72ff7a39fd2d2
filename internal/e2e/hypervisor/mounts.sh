# Gives the calling mount namespace the files of a machine of its own, and holds it. $1 is a directory to make in /run.
mount --make-rprivate /
mount -t sysfs sysfs /sys # that of the network namespace
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p "$1" /run/libvirt /run/lock /run/etc
cp -a /etc/. /run/etc
mount --bind /run/etc /etc
rm -rf /etc/libvirt /etc/macvtap-filter
mkdir -p /etc/libvirt
for dir in /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /usr/local/sbin /usr/local/lib; do
    mount -t tmpfs -o mode=755 tmpfs "$dir"
done
# Only a look at it: compilers may be in there.
mkdir -p /run/local/upper /run/local/work
mount -t overlay -o lowerdir=/usr/local/lib,upperdir=/run/local/upper,workdir=/run/local/work overlay /usr/local/lib
echo ready
exec sleep infinity
