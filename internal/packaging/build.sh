#!/bin/sh
# Builds the packages into bin/packages, from the top of the checkout: "make packages"
# calls it. A .deb needs dpkg-deb, an .rpm rpmbuild: what cannot be made here is said.
# The same commit gives the same packages.
#   VERSION     by default of the newest tag vN.N.N, and what was committed since
#   MAINTAINER  who answers for the packages; by default who made the commit
#   OUT         another folder
#   GOARCH, GO  as for go
set -eu
GO=${GO:-go}
out=${OUT:-bin/packages}
here=internal/packaging
. "$here/files.sh"

export VERSION="${VERSION:-$(sh $here/version.sh)}"
test -n "$VERSION" || { echo "git says no version of this checkout: make packages VERSION=1.0.0 MAINTAINER='Name <name@example.org>'" >&2; exit 1; }
MAINTAINER=${MAINTAINER:-$(git log -1 --format='%an <%ae>')}
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}"
ARCH=$($GO env GOARCH)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$out"
${MAKE:-make} --silent --no-print-directory build BIN="$stage/macvtap-filter" GO="$GO" VERSION="$VERSION"

# fill writes a template's text with the version and so on in it.
fill() {
	sed "s|@VERSION@|$VERSION|; s|@ARCH@|$ARCH|; s|@SIZE@|${size-}|; s|@MAINTAINER@|$MAINTAINER|" "$1"
}

# script prints a maintainer script.
script() {
	cat "$here/setup.sh" "$here/scripts.sh" "$here/$1"
}

# changes lists what was committed since the release before.
changes() {
	since=$(git describe --tags --abbrev=0 --match 'v[0-9]*' HEAD^ 2>/dev/null || true)
	git log --format='%<(74,trunc)%s' ${since:+"$since.."} 2>/dev/null | head -n 100 | sed "s/ *$//"
}

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


deb() {
	root=$stage/deb
	put_packaged "$root" "$stage/macvtap-filter" zsh/vendor-completions
	doc=$root/usr/share/doc/macvtap-filter
	install -d -m 0755 "$doc" "$root/usr/share/lintian/overrides" "$root/DEBIAN"
	install -m 0644 "$stage/copyright" "$doc/copyright"
	install -m 0644 "$here/deb/lintian-overrides" "$root/usr/share/lintian/overrides/macvtap-filter"
	{
		printf 'macvtap-filter (%s-1) unstable; urgency=medium\n\n' "$VERSION"
		changes | sed 's/^/  * /'
		printf '\n -- %s  %s\n' "$MAINTAINER" "$(LC_ALL=C date -u -d "@$SOURCE_DATE_EPOCH" '+%a, %d %b %Y %H:%M:%S +0000')"
	} | gzip -9n >"$doc/changelog.Debian.gz"
	chmod 0644 "$doc/changelog.Debian.gz"
	# As dpkg-gencontrol counts: a folder's own size differs from file system to file system.
	size=$(find "$root" -path "$root/DEBIAN" -prune -o -printf '%y %s\n' | awk '{ sum += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print sum }')
	{ fill "$here/deb/control"; sed 's/^/ /' "$here/description"; } >"$root/DEBIAN/control"
	(cd "$root" && find usr -type f -exec md5sum {} +) | LC_ALL=C sort -k 2 >"$root/DEBIAN/md5sums"
	for name in preinst postinst prerm postrm; do
		{ echo '#!/bin/sh'; script "deb/$name"; } >"$root/DEBIAN/$name"
		chmod 0755 "$root/DEBIAN/$name"
	done
	find "$root" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
	file=$out/macvtap-filter_$VERSION-1_$ARCH.deb
	dpkg-deb --root-owner-group -Zxz --build "$root" "$file" >/dev/null
	echo "made $file"
}

# Scripts are shell, not macros: each % in them is two.
rpm() {
	root=$stage/rpm
	put_packaged "$root" "$stage/macvtap-filter" zsh/site-functions
	install -D -m 0644 "$stage/copyright" "$root/usr/share/licenses/macvtap-filter/copyright"
	find "$root" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
	{
		fill "$here/rpm/macvtap-filter.spec"
		printf '%%description\n'
		cat "$here/description"
		for name in post preun postun; do
			printf '\n%%%s\n' "$name"
			script "rpm/$name" | sed 's/%/%%/g'
		done
		printf '\n%%changelog\n* %s %s - %s-1\n' "$(LC_ALL=C date -u -d "@$SOURCE_DATE_EPOCH" '+%a %b %d %Y')" "$MAINTAINER" "$VERSION"
		changes | sed 's/%/%%/g; s/^/- /'
	} >"$stage/macvtap-filter.spec"
	case $ARCH in amd64) arch=x86_64 ;; arm64) arch=aarch64 ;; 386) arch=i686 ;; *) arch=$ARCH ;; esac
	rpmbuild -bb --quiet --target "$arch-linux" --buildroot "$root" \
		--define "_topdir $stage/rpmbuild" --define "_rpmdir $stage" --define '_rpmfilename package.rpm' \
		--define '_buildhost localhost' --define 'use_source_date_epoch_as_buildtime 1' --define 'clamp_mtime_to_source_date_epoch 1' \
		--define '_build_id_links none' --define 'debug_package %{nil}' --define '__os_install_post %{nil}' \
		--define '_binary_payload w9.xzdio' --define '_docdir /usr/share/doc' \
		"$stage/macvtap-filter.spec" >"$stage/rpmbuild.log" 2>&1 || { cat "$stage/rpmbuild.log" >&2; exit 1; }
	file=$out/macvtap-filter-$VERSION-1.$arch.rpm
	mv "$stage/package.rpm" "$file"
	echo "made $file"
}

made=
if command -v dpkg-deb >/dev/null; then deb; made=yes; else echo "no .deb: dpkg-deb is missing (the package dpkg)" >&2; fi
if command -v rpmbuild >/dev/null; then rpm; made=yes; else echo "no .rpm: rpmbuild is missing (Debian's package rpm, Fedora's rpm-build)" >&2; fi
test -n "$made"
