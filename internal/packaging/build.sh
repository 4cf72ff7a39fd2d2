#!/bin/sh
# Builds the packages into bin/packages, from the top of the checkout and with the
# binary built: "make packages" calls it. The same commit gives the same packages.
#   VERSION     by default of the newest tag vN.N.N, and what was committed since
#   MAINTAINER  who answers for the packages; by default who made the commit
#   OUT         another folder
#   GOARCH, GO  as for go
set -eu
nfpm=v2.44.0 # later ones need modules that the proxy does not have
GO=${GO:-go}
out=${OUT:-bin/packages}
here=internal/packaging

# An unreleased version sorts after the release before it; git's hyphens are not
# allowed in rpm's.
describe() {
	if described=$(git describe --tags --match 'v[0-9]*' 2>/dev/null); then
		echo "$described" | sed 's/^v//; s/-\([0-9]*\)-g/+\1.g/; s/-/~/'
	else
		git log -1 --date=format:%Y%m%d --format='0.0.0~%cd.%h'
	fi
}
VERSION=${VERSION:-$(describe)}
MAINTAINER=${MAINTAINER:-$(git log -1 --format='%an <%ae>')}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
ARCH=$($GO env GOARCH)
stage=bin/stage
rm -rf "$stage"
mkdir -p "$stage/deb" "$stage/rpm"
export VERSION MAINTAINER SOURCE_DATE_EPOCH ARCH

for page in macvtap-filter.8 macvtap-filter.toml.5; do
	gzip -9nc "$here/man/$page" >"$stage/$page.gz"
done
sed 's|/usr/local/sbin/|/usr/sbin/|' cmd/macvtap-filter/macvtap-filter-watch.service >"$stage/macvtap-filter-watch.service"
for script in deb/preinst deb/postinst deb/prerm deb/postrm rpm/post rpm/preun rpm/postun; do
	# dpkg runs the file, rpm feeds it to /bin/sh.
	{ echo '#!/bin/sh'; cat "$here/setup.sh" "$here/scripts.sh" "$here/$script"; } >"$stage/$script"
done

# What was committed since the release before, as the changelog of this version.
since=$(git describe --tags --abbrev=0 --match 'v[0-9]*' HEAD^ 2>/dev/null || true)
{
	echo "- semver: \"$VERSION\""
	echo "  date: $(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)"
	echo "  packager: \"$MAINTAINER\""
	echo "  deb: {urgency: medium, distributions: [unstable]}"
	echo "  changes:"
	git log --format='%<(74,trunc)%s' ${since:+"$since.."} | head -n 100 |
		sed "s/ *$//; s/'/''/g; s/.*/    - {note: '&'}/"
} >"$stage/changelog.yaml"

# licence prints the licence of the module in a folder, and its notices.
licence() {
	text=$(find "$1" -maxdepth 1 \( -iname 'licen[cs]e*' -o -iname 'copying*' \) -exec cat {} +)
	case $text in
	'') echo "$1 has no licence file" >&2; exit 1 ;;
	*'Apache License'*'TERMS AND CONDITIONS'*) echo 'Apache License, Version 2.0 (see above)' ;;
	*) echo "$text" ;;
	esac
	find "$1" -maxdepth 1 -iname 'notice*' -exec cat {} +
}
{
	cat "$here/copyright"
	$GO list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/macvtap-filter |
		sort -u >"$stage/modules"
	while read -r path version dir; do
		printf '\n%s %s\n\n' "$path" "$version"
		licence "$dir"
	done <"$stage/modules"
	printf '\nThe standard library of %s\n\n' "$($GO env GOVERSION)"
	licence "$($GO env GOROOT)"
} >"$stage/copyright"

find "$stage" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
# The package is for $ARCH, nfpm for this machine. It is kept: go asks the network
# at each "go run" of a version.
tool=bin/tools/nfpm-$nfpm
if ! test -x "$tool"; then
	env -u GOARCH GOBIN="$PWD/bin/tools" $GO install "github.com/goreleaser/nfpm/v2/cmd/nfpm@$nfpm"
	mv bin/tools/nfpm "$tool"
fi
mkdir -p "$out"
for kind in deb rpm; do
	"$tool" package --config "$here/nfpm.yaml" --packager "$kind" --target "$out"
done
