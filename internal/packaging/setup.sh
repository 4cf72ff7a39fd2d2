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

# network_pid prints the process that runs networks' hooks, or nothing.
network_pid() {
	if pidof -s virtqemud >/dev/null; then pidof -s virtnetworkd || true; else pidof -s libvirtd || true; fi
}

# lacks_networks FOLDER [NAME] prints what the daemon is called that runs no networks' hooks, or
# nothing.
lacks_networks() {
	networks=$(network_pid)
	if test -n "$networks" && ! runs_hooks "$networks" "$1" "${2:-}" network; then cat "/proc/$networks/comm"; fi
}

# runs_hooks PID FOLDER [NAME [DRIVER]] says whether that daemon runs QEMU's hooks, or another
# driver's, whatever became of the one called NAME. It looks for them when it starts, so it does if one is older
# than it. The age of a file is that of its name
# there (ctime): packages bring files that are older than themselves. The age of a
# process is in proc(5), not in the date of /proc/PID, which is of the first look at it.
runs_hooks() {
	booted=$(awk '$1 == "btime" { print $2 }' /proc/stat)
	ticks=$(sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f20)
	started=$((booted + ticks / $(getconf CLK_TCK)))
	test -n "$(find -L "$2/${4:-qemu}" "$2/${4:-qemu}.d" -maxdepth 1 -type f -perm /111 ! -name "${3:-}" ! -newerct "@$started" 2>/dev/null)"
}

# tell_restart PID yes|no [DAEMON] says what to do about a daemon that runs no hooks yet, and one
# that runs no networks'.
tell_restart() {
	if test -z "$1"; then
		echo "libvirt is not running; it finds the hook when it starts"
	elif test "$2" = yes; then
		daemons=$(printf '%s\n' "$(cat "/proc/$1/comm")" "${3:-}" | sort -u | xargs)
		echo "libvirt looked for hooks when it started and found none: restart it once (systemctl restart $daemons; running VMs go on)"
	elif test -n "${3:-}"; then
		echo "libvirt looked for hooks of networks when it started and found none: restart it once (systemctl restart $3; running VMs go on)"
	else
		echo "libvirt runs hooks already: no restart is needed"
	fi
}

# check_parent NIC says what keeps VMs off a NIC of this host, and fails. It may have an
# alternative name, or be a glob, as in the configuration.
check_parent() (
	sys=${SYS:-/sys/class/net}
	nic=$1
	case $nic in
	'' | *[!!-~]* | */* | *\"* | *\\*) echo "PARENT=$nic: not a name that a NIC can have" >&2; exit 1 ;;
	*[*?[]*)
		for dir in "$sys"/$nic; do if test -e "$dir"; then exit 0; fi; done ;;
	esac
	if ! test -e "$sys/$nic"; then
		other=$(ip -oneline link show dev "$nic" 2>/dev/null | sed 's/^[0-9]*: *//; s/[@:].*//')
		test -n "$other" || { echo "PARENT=$nic: this host has no such NIC; it has $(ls "$sys" | grep -vx -e lo -e bonding_masters | tr '\n' ' ')" >&2; exit 1; }
		nic=$other
	fi
	# A port's frames belong to what it is a port of: the kernel takes no macvtap device.
	if test -e "$sys/$nic/brport"; then
		echo "PARENT=$nic: it is a port of the bridge $(basename "$(readlink "$sys/$nic/master")"), and carries no macvtap device: take it out of the bridge, or name another NIC" >&2; exit 1
	elif test -e "$sys/$nic/bonding_slave" || test -e "$sys/$nic/team_port"; then
		echo "PARENT=$nic: it is part of $(basename "$(readlink "$sys/$nic/master")"), and carries no macvtap device: name that" >&2; exit 1
	elif test "$nic" = lo; then
		echo "PARENT=lo: no VM can be on the loopback device: name the NIC that the VMs are on" >&2; exit 1
	fi
)
