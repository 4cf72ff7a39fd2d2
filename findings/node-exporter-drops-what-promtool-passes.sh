#!/usr/bin/env bash
# A sample that is there twice, in a file or in two files of node_exporter's textfile collector, passes "promtool check metrics"
# without a word, and node_exporter serves the first of the two. Its own metrics say that all is well (scrape_error 0,
# success 1, status 200); only its log has the error, at each scrape. Twice are the same labels in another order, and
# a label with an empty value beside one that is not there: c_total{d="1"} and c_total{d="1",e=""}.
#
# Why it matters: two jobs that write files of their own, or one that names a VM by what is not unique, lose each other's
# numbers. The check before and the alert after both look at something else.
#
# Source: Prometheus' "Exposition formats" (each line must have a unique combination of name and labels, else what happens is
# undefined); node_exporter's collector/textfile.go; client_golang's prometheus/registry.go (checkMetricConsistency).
# Needs root, iproute2, python3 (its standard library), apt with Debian 12's lists; the packages are unpacked in a temporary
# folder, and nothing is installed.
set -euo pipefail

if [ "${1-}" != inside ]; then
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  (cd "$dir" && apt-get -q -o APT::Sandbox::User=root download prometheus=2.42.0+ds-5+deb12u1 prometheus-node-exporter=1.5.0-1+b6 >/dev/null && for deb in *.deb; do dpkg -x "$deb" root; done)
  timeout 60 unshare --net --pid --fork --kill-child "$0" inside "$dir"
  exit
fi

dir=$2
ip link set lo up
mkdir "$dir/files"
printf '# HELP a Of one job.\n# TYPE a gauge\na{vm="1",nic="2"} 1\n' >"$dir/files/a.prom"
printf '# HELP a Of one job.\n# TYPE a gauge\na{nic="2",vm="1"} 2\na{nic="3",vm="1"} 3\n' >"$dir/files/b.prom"
printf '# HELP c_total Of another.\n# TYPE c_total counter\nc_total{d="1"} 4\nc_total{d="1",e=""} 5\n' >"$dir/files/c.prom"
"$dir/root/usr/bin/promtool" --version 2>&1 | sed -n '1s/ (.*//p'
"$dir/root/usr/bin/prometheus-node-exporter" --version 2>&1 | sed -n '1s/ (.*//p'
checks=0
for file in "$dir"/files/*; do
  if said=$("$dir/root/usr/bin/promtool" check metrics <"$file" 2>&1) && [ -z "$said" ]; then checks=$((checks + 1)); fi
done
"$dir/root/usr/bin/prometheus-node-exporter" --collector.disable-defaults --collector.textfile \
  --collector.textfile.directory="$dir/files" --web.listen-address=127.0.0.1:9100 >"$dir/log" 2>&1 &
served=$(python3 -c '
import time, urllib.request
for _ in range(100):
    try:
        print(urllib.request.urlopen("http://127.0.0.1:9100/metrics").read().decode())
        break
    except OSError:
        time.sleep(0.1)
')
values() { awk -v name="$1" '{ split($1, part, "{") } part[1] == name { print $NF }' <<<"$served" | sort | xargs; }
error=$(values node_textfile_scrape_error)
success=$(values node_scrape_collector_success)
logged=$(grep -o 'was collected before with the same name and label values' "$dir/log" | wc -l)
echo "expected: promtool or node_exporter's metrics say that two samples are there twice"
echo "seen:     $checks of 3 files pass promtool; scrape_error $error, success $success; errors in the log: $logged"
echo "          of a's values 1, 2, 3 are served: $(values a); of c_total's 4, 5: $(values c_total)"
[ "$checks $error $success $logged" = "3 0 1 2" ]
[ "$(values a)" = "1 3" ]
[ "$(values c_total)" = 4 ]
