#!/bin/sh
# What the guest does: load the modules, run each test binary where its package
# would be, and write its output between marks to the second serial port. The
# first one is the kernel's own, so that its messages break no line of a test.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root TMPDIR=/tmp CI=true
export MACVTAP_FILTER_KERNEL="$(cat /version)" MACVTAP_FILTER_BINARY=/usr/sbin/macvtap-filter

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mkdir /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd
ln -s /proc/self/fd/0 /dev/stdin # nft reads JSON from there
ip link set lo up

stty raw -echo -F /dev/ttyS1
exec </dev/null >/dev/ttyS1 2>&1

while read -r module; do
	insmod "$module" || echo "@@ module $module"
done </modules.list

while read -r dir; do
	cd "/repository/$dir"
	echo "@@ begin $dir"
	/suites/"$dir".test $(cat /flags) </dev/null
	code=$?
	echo # the binary may have stopped in the middle of a line
	echo "@@ end $dir $code"
done </suites.list
echo "@@ done"

# Leaving the port waits until all of that is through.
exec >/dev/null 2>&1
poweroff -f
