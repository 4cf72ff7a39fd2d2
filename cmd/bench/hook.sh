#!/bin/sh
# The usual answer: a hook for one VM with one NIC. Called as NAME OPERATION
# SUBOPERATION EXTRA, with the domain's XML on standard input.
set -eu

replace='
add table netdev shell_hook
delete table netdev shell_hook'

case "$2 $3" in
"start begin" | "reconnect begin") ;;
"stopped end") exec nft delete table netdev shell_hook ;;
*) exit 0 ;;
esac

# A kinder script than most: told that nothing stands, it does not delete.
if [ "${SHELL_HOOK_FRESH:-}" = yes ] && [ "$2" = start ]; then
	replace=
fi

device=$(xmlstarlet sel -t -v "/domain/devices/interface[@type='direct']/target/@dev")

nft -f - <<EOT
$replace
table netdev shell_hook {
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
