# What is done to a host beside putting files there: "make install" and the packages'
# maintainer scripts read this file. Plain sh.

# default_nic prints the NIC of the default route, or nothing
# (proc(5): /proc/net/route; the kernel's net/ipv6/route.c for ipv6_route).
default_nic() {
	{
		awk 'NR > 1 && $2 == "00000000" && $8 == "00000000" { print $7, $1 }' /proc/net/route | sort -n | cut -d' ' -f2
		awk '$1 ~ /^0+$/ && $2 == "00" && $10 != "lo" { print $10 }' /proc/net/ipv6_route
	} 2>/dev/null | head -n 1
}

# write_config REFERENCE CONFIG NIC writes the first configuration. A VM that starts
# meanwhile finds no file, or the whole one.
write_config() {
	install -d -m 0755 "$(dirname "$2")"
	sed "s|^parents = .*|parents = [\"$3\"]|" "$1" >"$2.new"
	mv "$2.new" "$2"
}

# libvirt_pid prints the process that runs QEMU's hooks, or nothing.
libvirt_pid() {
	pidof -s virtqemud || pidof -s libvirtd || true
}

# runs_hooks PID FOLDER [NAME] says whether that daemon runs hooks, whatever became of
# the one called NAME. It looks for them when it starts, so it does if one is older
# than it. The age of a file is that of its name
# there (ctime): packages bring files that are older than themselves. The age of a
# process is in proc(5), not in the date of /proc/PID, which is of the first look at it.
runs_hooks() {
	booted=$(awk '$1 == "btime" { print $2 }' /proc/stat)
	ticks=$(sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f20)
	started=$((booted + ticks / $(getconf CLK_TCK)))
	test -n "$(find -L "$2/qemu" "$2/qemu.d" -maxdepth 1 -type f -perm /111 ! -name "${3:-}" ! -newerct "@$started" 2>/dev/null)"
}

# tell_restart PID yes|no says what to do about a daemon that runs no hooks yet.
tell_restart() {
	if test -z "$1"; then
		echo "libvirt is not running; it finds the hook when it starts"
	elif test "$2" = yes; then
		echo "libvirt looked for hooks when it started and found none: restart it once (systemctl restart $(cat "/proc/$1/comm"); running VMs go on)"
	else
		echo "libvirt runs hooks already: no restart is needed"
	fi
}
