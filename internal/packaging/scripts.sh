
# What a package does when it comes and goes. Debian's and rpm's maintainer scripts
# are setup.sh, this file, and their own few lines, which say which of these it is.
set -e
hooks=/etc/libvirt/hooks
config=/etc/macvtap-filter/config.toml
reference=/usr/share/macvtap-filter/config.toml
service=macvtap-filter-watch.service
fresh=/run/macvtap-filter.fresh # the package was not there before
written=/var/lib/macvtap-filter/written # rpm: the checksum of the configuration that was written

# in_chroot says whether this is no running host but its image in the making: the
# network that it sees is another machine's.
in_chroot() {
	test "$(stat -Lc %d:%i / 2>/dev/null)" != "$(stat -Lc %d:%i /proc/1/root 2>/dev/null)"
}

# first_config writes the configuration where there is none. It is no file of the
# package's: the right one names this host's NIC, and no package's upgrade asks
# about it or replaces it.
first_config() {
	nic=
	in_chroot || nic=$(default_nic)
	if test -e "$config"; then
		echo "macvtap-filter: kept the configuration $config"
	elif test -n "$nic"; then
		write_config "$reference" "$config" "$nic"
		echo "macvtap-filter: wrote the configuration $config for VMs on $nic; those on other NICs are left alone"
	else
		echo "macvtap-filter: found no default route, and so wrote no configuration: VMs with a direct interface do not start until $config is there; copy $reference and name the NIC that the VMs are on in parents"
	fi
}

installed() {
	first_config
	daemon=$(libvirt_pid)
	restart=no
	if test -n "$daemon" && ! runs_hooks "$daemon" "$hooks" macvtap-filter; then restart=yes; fi
	echo "macvtap-filter: $(tell_restart "$daemon" "$restart" "$(lacks_networks "$hooks" macvtap-filter)")"
	cat <<-END
		macvtap-filter: then, one after the other:
		  macvtap-filter check                         # what does this host need?
		  macvtap-filter apply --all                   # protect the VMs that run already
		  systemctl enable --now macvtap-filter-watch  # keep hot-plugged and flushed interfaces closed, too
	END
}

# upgraded moves the running VMs to the rules of the new version: watch does where it runs,
# or this. No frame of theirs is judged by neither. A VM that starts meanwhile has its hook.
# Where the configuration means something else to the new version, they stay until somebody
# has read what.
upgraded() {
	reload
	says=
	in_chroot || says=$(macvtap-filter check 2>/dev/null) || true
	echo "$says" | sed -n 's/^warning  \(libvirt: .*network\.d\/macvtap-filter was put there\)/macvtap-filter: \1/p'
	if differs=$(echo "$says" | grep 'in earlier versions it was'); then
		echo "$differs"
		cat <<-END
			macvtap-filter: so VMs that start from now on have other rules than before. Running VMs keep theirs, and watch, where
			it runs, is the old version, until you have changed the configuration or agreed, and then move them:
			  macvtap-filter apply --all --diff            # what would change?
			  macvtap-filter apply --all
			  systemctl try-restart $service
		END
		return 0
	fi
	if test -d /run/systemd/system; then try_restart "$service" || true; fi
	in_chroot && return 0
	if ! systemctl --quiet is-active "$service" 2>/dev/null && ! said=$(macvtap-filter apply --all 2>&1); then
		echo "$said"
		echo "macvtap-filter: running VMs keep the rules that they have; \"macvtap-filter apply --all\" brings these up to the new version"
	fi
}

# removing stops what keeps the rules standing, and says what stands on. It takes no
# rules away: that would open a running VM.
removing() {
	if test -d /run/systemd/system; then
		stop "$service" || true
	fi
	echo "macvtap-filter: VMs that start from now on are not filtered"
	stands=$(macvtap-filter remove --all --dry-run 2>/dev/null || true)
	test -n "$stands" || return 0
	cat <<-END
		macvtap-filter: running VMs stay closed to the local network: their rules stand until the
		host restarts, or until you delete them as below. Do so when the VMs have stopped, since
		nobody else does any more: another VM's device of the same name has no network while they
		stand. The chains from-vm-DEVICE and to-vm-DEVICE are all that stands for one device.
	END
	if echo "$stands" | grep -qv '^delete table '; then echo "  nft delete table netdev macvtap-filter"; fi
	echo "$stands" | sed -n 's/^delete table /  nft &/p'
	if echo "$stands" | grep -qx 'delete table netdev macvtap-filter-guard'; then
		echo "macvtap-filter: the guard (macvtap-filter-guard) closes the macvtap devices of VMs that start from now on, too"
	fi
}

# reload has systemd see that the service's file is another, or gone.
reload() {
	if test -d /run/systemd/system; then systemctl daemon-reload || true; fi
}

# removed takes away what the program noted; its rules are in the kernel.
removed() {
	rm -f /var/lib/macvtap-filter/tested
	rmdir --ignore-fail-on-non-empty /var/lib/macvtap-filter 2>/dev/null || true
	rm -f /run/macvtap-filter-incoming-* /run/macvtap-filter-hook /run/macvtap-filter-network-hook /run/macvtap-filter.lock /run/macvtap-filter-watch-*.lock /run/macvtap-filter-watch-*.sock /run/macvtap-filter-trial-*.sock
}
