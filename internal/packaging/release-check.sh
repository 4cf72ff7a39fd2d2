#!/bin/sh
# Makes a release twice and compares: "make release-check" calls it. The folders, the file
# systems where there is another, the caches, the clock's zone, the language and the masks differ.
set -eu
GO=${GO:-go}
stage=$(mktemp -d)
other=$(mktemp -d /dev/shm/macvtap-filter.XXXXXX 2>/dev/null || mktemp -d)
trap 'rm -rf "$stage" "$other"' EXIT
if test -z "${SBOM:-}"; then
	GOBIN=$stage $GO install -trimpath "$(sed -n 's/^tool=//p' internal/packaging/release.sh)"
	SBOM=$stage/cyclonedx-gomod
fi
export SBOM
for folder in "$stage/one" "$other/another/deeper"; do
	git clone -q . "$folder"
done
make --no-print-directory -C "$stage/one" release GO="$GO" OUT="$stage/first"
(umask 077 && TZ=Asia/Shanghai LC_ALL=C.UTF-8 TMPDIR=$other GOCACHE=$stage/cache \
	make --no-print-directory -C "$other/another/deeper" release GO="$GO" OUT="$stage/second")
diff -r "$stage/first" "$stage/second" || { echo "make release-check: made twice, these files differ" >&2; exit 1; }
(cd "$stage/first" && sha256sum -c --quiet SHA256SUMS && cat SHA256SUMS)
echo "made twice, the same"
