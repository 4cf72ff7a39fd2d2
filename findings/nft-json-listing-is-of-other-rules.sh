#!/usr/bin/env bash
# What nft 1.0.6 writes with "-j list ruleset" loads with "-j -f", without an error, and is another ruleset. A table that is
# dormant comes back awake, and its chains judge. Timeouts of connection tracking ("ct timeout") are in the listing, and loaded
# as none. A set is without "auto-merge", so that the next element that overlaps is refused, and without "dynamic";
# comments of tables and sets are gone. The text that the same nft writes has all of it.
#
# Why it matters: programs take JSON since it is meant for them. A table that somebody put to sleep because it cut the host
# off does so again after a restore.
#
# Source: libnftables-json(5); nftables' src/json.c (table_flags_json, set_print_json), src/parser_json.c
# (json_parse_ct_timeout_policy). 1.1.3 writes the flags and comments, and refuses its own "ct timeout": "protocol" is a number.
# Needs root, Linux, apt with Debian 12's lists (the packages are unpacked in a temporary folder, and nothing is installed),
# iproute2.
set -euo pipefail

if [ "${1-}" != inside ]; then
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  (cd "$dir" && apt-get -q -o APT::Sandbox::User=root download nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2 libnftnl11=1.2.4-2 >/dev/null && for deb in *.deb; do dpkg -x "$deb" root; done)
  timeout 60 unshare -n "$0" inside "$dir"
  exit
fi

dir=$2
nft() { LD_LIBRARY_PATH="$(echo "$dir"/root/usr/lib/*/)" "$dir/root/usr/sbin/nft" "$@"; }
echo "Linux $(uname -r), $(nft --version)"
ip link set lo up
nft -f - <<'NFT'
table inet asleep {
	comment "cuts us off"
	flags dormant

	chain c {
		type filter hook output priority 0; policy drop;
	}
}

table inet awake {
	set merged {
		type ipv4_addr
		flags interval
		auto-merge
		comment "ours"
		elements = { 192.0.2.0/25 }
	}

	set learned {
		type ipv4_addr
		size 10
		flags dynamic
		counter
		elements = { 192.0.2.1 }
	}

	ct timeout short {
		protocol tcp
		policy = { established : 60, close : 5 }
	}
}
NFT

# state says what works, and what of the text is there.
state() {
  if (echo >/dev/udp/127.0.0.1/9) 2>/dev/null; then echo "the host sends"; else echo "the host is cut off"; fi
  if nft -c add element inet awake merged '{ 192.0.2.0/24 }' 2>/dev/null; then echo "an element that overlaps is taken"; else echo "an element that overlaps is refused"; fi
  nft list ruleset | grep -E 'comment|flags d|policy = ' | xargs
}
before=$(state)
nft list ruleset >"$dir/text"
nft -j list ruleset >"$dir/json"
nft flush ruleset
nft -j -f "$dir/json"
json=$(state)
nft flush ruleset
nft -f "$dir/text"
text=$(state)
line() { paste -sd ';' | sed 's/;/; /g'; }
echo "expected: after the listing is loaded: $(line <<<"$before")"
echo "seen, text:                            $(line <<<"$text")"
echo "seen, JSON:                            $(line <<<"$json")"
[ "$text" = "$before" ]
[ "$before" = "the host sends
an element that overlaps is taken
flags dormant comment cuts us off policy = { established : 60, close : 5 } comment ours flags dynamic" ]
[ "$json" = "the host is cut off
an element that overlaps is refused
policy = { }" ]
