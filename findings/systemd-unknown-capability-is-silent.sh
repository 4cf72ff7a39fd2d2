#!/usr/bin/env bash
# systemd-analyze verify warns of a misspelled address family, system call group or boolean, and says nothing of a
# misspelled capability: CapabilityBoundingSet=CAP_NET_ADMN is an empty set, and so is NET_ADMIN, while cap_net_admin in
# lower case is right. systemd-analyze security then calls the service tighter than it was meant to be. (verify exits 0
# in all cases, the warned ones too.)
#
# Why it matters: the service loads without a word in the journal and fails later with "operation not permitted"; a CI
# job that runs verify and looks for output finds every other slip of the pen but this.
#
# Source: systemd.exec(5), CapabilityBoundingSet= and RestrictAddressFamilies=; capabilities(7).
# Needs systemd-analyze (no running systemd, no privilege).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export LC_ALL=C

# verify prints how many lines verify says of a service with the setting, and its exit code.
verify() {
  printf '[Service]\nExecStart=/bin/true\n%s\n' "$1" >finding.service
  local code=0
  timeout 60 systemd-analyze verify ./finding.service >said 2>&1 || code=$?
  echo "$(grep -c finding.service said || true) $code"
}
# holds says whether the service of the last verify may have CAP_NET_ADMIN in its bounding set.
holds() {
  timeout 60 systemd-analyze security --offline=true ./finding.service >security 2>&1 || true
  if grep -q 'CapabilityBoundingSet=~CAP_NET_ADMIN .*Service has network' security; then echo yes; else echo no; fi
}

systemd-analyze --version | sed -n 1p
echo "expected: 1 warning for each setting that is misspelled"
seen=
for setting in RestrictAddressFamilies=AF_NETLNK SystemCallFilter=@netwrk PrivateNetwork=ja \
  CapabilityBoundingSet=CAP_NET_ADMN CapabilityBoundingSet=NET_ADMIN CapabilityBoundingSet=cap_net_admin; do
  result="$(verify "$setting") $(holds)"
  printf 'seen:     %-40s warnings, exit code, CAP_NET_ADMIN: %s\n' "$setting" "$result"
  seen="$seen/$result"
done
[ "$seen" = "/1 0 yes/1 0 yes/1 0 yes/0 0 no/0 0 no/0 0 yes" ]
