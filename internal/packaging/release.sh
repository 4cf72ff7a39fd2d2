#!/bin/sh
# Makes a release of the commit that is checked out, from the top of the checkout: "make
# release" calls it. The same commit gives the same files, whoever makes them and where, with the
# same version of Go.
#   ARCHES      for which architectures, as Go calls them
#   OUT         another folder, which is made anew
#   SBOM        a cyclonedx-gomod that is there; by default this one is built
#   VERSION, MAINTAINER, GO  as for build.sh
set -eu
export GO="${GO:-go}"
out=${OUT:-bin/release}
sbom=${SBOM:-}
tool=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
here=internal/packaging

fail() { echo "make release: $1" >&2; exit 1; }

for program in git dpkg-deb rpmbuild sha256sum; do
	command -v $program >/dev/null || fail "$program is missing; .ci/packages names its package"
done
changed=$(git status --porcelain) || fail "this is no checkout of git"
test -z "$changed" || fail "these files are not as committed, and a release is of a commit: $changed"
export VERSION="${VERSION:-$(sh $here/version.sh)}"
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
# What could change what is made, and is not in the commit.
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC GOFLAGS= GOEXPERIMENT= GOAMD64=v1 GOARM64=v8.0 GORISCV64=rva20u64
umask 022
unset GOARCH GOOS

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
rm -rf "$out"
mkdir -p "$out"
if test -z "$sbom"; then
	GOBIN=$stage $GO install -trimpath $tool
	sbom=$stage/cyclonedx-gomod
fi

# bill writes what is in the program of a .deb. The tool knows no SOURCE_DATE_EPOCH.
bill() {
	rm -rf "$stage/deb"
	dpkg-deb --extract "$out/macvtap-filter_$VERSION-1_$1.deb" "$stage/deb"
	GOARCH=$1 "$sbom" bin -json -noserial -std -version "$VERSION" -output "$stage/bill" "$stage/deb/usr/sbin/macvtap-filter" 2>"$stage/log" || { cat "$stage/log" >&2; exit 1; }
	sed "s/\"timestamp\": \"[^\"]*\"/\"timestamp\": \"$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)\"/" "$stage/bill" >"$out/macvtap-filter_${VERSION}_$1.cdx.json"
}

# Those on which Linux has KVM and whose byte order the tests have seen.
for arch in ${ARCHES:-amd64 arm64 riscv64}; do
	GOARCH=$arch OUT=$out sh $here/build.sh
	bill "$arch"
done
git archive --format=tar --prefix="macvtap-filter-$VERSION/" HEAD | gzip -9n >"$out/macvtap-filter-$VERSION.tar.gz"
(cd "$out" && sha256sum ./* >"$stage/sums" && sed 's|\./||' "$stage/sums" >SHA256SUMS)
echo "made the release $VERSION in $out"
