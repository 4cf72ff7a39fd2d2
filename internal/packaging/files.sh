# The files of an installation, for "make install" and the packages. Plain sh, from the
# top of the checkout.

# put_shared SHARE ZSH puts the manual pages and the completions of shells below a
# folder share; zsh's have a folder of their own there, which distributions name
# differently.
put_shared() {
	install -d -m 0755 "$1/man/man5" "$1/man/man8" "$1/bash-completion/completions" "$1/fish/vendor_completions.d" "$1/$2"
	gzip -9nc internal/packaging/man/macvtap-filter.8 >"$1/man/man8/macvtap-filter.8.gz"
	gzip -9nc internal/packaging/man/macvtap-filter.toml.5 >"$1/man/man5/macvtap-filter.toml.5.gz"
	chmod 0644 "$1/man/man8/macvtap-filter.8.gz" "$1/man/man5/macvtap-filter.toml.5.gz"
	install -m 0644 internal/packaging/completions/macvtap-filter.bash "$1/bash-completion/completions/macvtap-filter"
	install -m 0644 internal/packaging/completions/macvtap-filter.fish "$1/fish/vendor_completions.d/macvtap-filter.fish"
	install -m 0644 internal/packaging/completions/_macvtap-filter "$1/$2/_macvtap-filter"
}

# remove_shared SHARE ZSH removes what put_shared put there.
remove_shared() {
	rm -f "$1/man/man8/macvtap-filter.8.gz" "$1/man/man5/macvtap-filter.toml.5.gz" \
		"$1/bash-completion/completions/macvtap-filter" "$1/fish/vendor_completions.d/macvtap-filter.fish" "$1/$2/_macvtap-filter"
}

# put_packaged ROOT BINARY ZSH puts what a package of any kind has. The hook is a link: a
# program in /etc would be a configuration file to dpkg, and kept at upgrades. libvirt
# follows it (virFileIsExecutable asks stat).
put_packaged() {
	install -d -m 0755 "$1/usr/sbin" "$1/etc/libvirt/hooks/qemu.d" "$1/etc/libvirt/hooks/network.d" "$1/usr/lib/systemd/system" "$1/usr/share/macvtap-filter"
	install -m 0755 "$2" "$1/usr/sbin/macvtap-filter"
	ln -s /usr/sbin/macvtap-filter "$1/etc/libvirt/hooks/qemu.d/macvtap-filter"
	ln -s /usr/sbin/macvtap-filter "$1/etc/libvirt/hooks/network.d/macvtap-filter"
	sed 's|/usr/local/sbin/|/usr/sbin/|' cmd/macvtap-filter/macvtap-filter-watch.service >"$1/usr/lib/systemd/system/macvtap-filter-watch.service"
	chmod 0644 "$1/usr/lib/systemd/system/macvtap-filter-watch.service"
	install -m 0644 internal/config/reference.toml "$1/usr/share/macvtap-filter/config.toml"
	install -m 0644 internal/packaging/grafana.json "$1/usr/share/macvtap-filter/grafana.json"
	install -m 0644 internal/packaging/grafana-fleet.json "$1/usr/share/macvtap-filter/grafana-fleet.json"
	install -m 0644 internal/packaging/alerts.yml "$1/usr/share/macvtap-filter/alerts.yml"
	put_shared "$1/usr/share" "$3"
}
