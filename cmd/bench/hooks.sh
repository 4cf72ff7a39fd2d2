#!/bin/sh
# The usual answer once VMs have several NICs, or a host several VMs: a table for each
# NIC, and a loop. Called as NAME OPERATION SUBOPERATION EXTRA, with the domain's XML
# on standard input.
set -eu

xml=$(cat)
nics=$(printf '%s\n' "$xml" | xmlstarlet sel -t -v "count(/domain/devices/interface[@type='direct'])")

case "$2 $3" in
"start begin" | "reconnect begin") ;;
"stopped end")
	for i in $(seq "$nics"); do
		nft delete table netdev "shell_hook_$1_$i"
	done
	exit 0
	;;
*) exit 0 ;;
esac

for i in $(seq "$nics"); do
	device=$(printf '%s\n' "$xml" | xmlstarlet sel -t -v "(/domain/devices/interface[@type='direct'])[$i]/target/@dev")
	nft -f - <<EOT
add table netdev shell_hook_$1_$i
delete table netdev shell_hook_$1_$i
table netdev shell_hook_$1_$i {
	chain from_vm {
		type filter hook egress device "$device" priority filter; policy accept;
		ip daddr 192.168.2.1 accept
		ip daddr 192.168.0.0/16 drop
	}
	chain to_vm {
		type filter hook ingress device "$device" priority filter; policy accept;
		ip saddr 192.168.2.1 accept
		ip saddr 192.168.0.0/16 drop
	}
}
EOT
done
