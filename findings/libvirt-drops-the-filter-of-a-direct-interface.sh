#!/usr/bin/env bash
# libvirt drops a <filterref> on an interface of type direct (macvtap), or user, when the domain is defined: no error, no
# warning, and "virsh dumpxml" has it no more. On one of type bridge, ethernet or network it stays.
#
# Why it matters: who writes filter='clean-traffic' for a VM on macvtap believes that it cannot spoof. Nothing filters it.
#
# Source: libvirt, docs/formatnwfilter.rst, "Concepts": supported are network, ethernet and bridge; what becomes of the
# element on other types is not said.
# Needs virsh with libvirt's test driver (Debian: libvirt-clients; no daemon, no privilege).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >domain.xml <<'XML'
<domain type='test'>
  <name>v</name><memory>1024</memory><os><type>hvm</type></os>
  <devices>
    <interface type='direct'><source dev='eth0' mode='bridge'/><filterref filter='clean-traffic'/></interface>
    <interface type='bridge'><source bridge='br0'/><filterref filter='clean-traffic'/></interface>
    <interface type='network'><source network='default'/><filterref filter='clean-traffic'/></interface>
    <interface type='ethernet'><filterref filter='clean-traffic'/></interface>
  </devices>
</domain>
XML
timeout 60 virsh -q -c test:///default "define domain.xml; dumpxml v" >said 2>errors
kept=$(awk -F"'" '/<interface type=/ { type = $2 } /<filterref/ { printf "%s ", type }' said)
echo "libvirt $(virsh --version)"
echo "expected: the interface keeps its filter, or libvirt refuses the domain"
echo "seen:     errors: $(wc -c <errors) bytes; types that keep the filter: $kept"
grep -q "<interface type='direct'>" said
[ ! -s errors ]
[ "$kept" = "bridge network ethernet " ]
