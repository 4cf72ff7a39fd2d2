package main

import (
	"os"
	"strings"

	"macvtap-filter/internal/host"
)

// Where the kernel says how its security modules are set (selinux(8);
// apparmor(7)). They are variables for tests.
var (
	selinuxEnforces = "/sys/fs/selinux/enforce"
	selinuxBoolean  = "/sys/fs/selinux/booleans/virt_hooks_unconfined"
	apparmorEnabled = "/sys/module/apparmor/parameters/enabled"
	apparmorProfile = "/etc/apparmor.d/usr.sbin.libvirtd"
	apparmorLocal   = "/etc/apparmor.d/local/usr.sbin.libvirtd"
)

// checkSecurity looks at what may keep the hook from its work.
func checkSecurity(r *report) {
	if content(selinuxEnforces) == "1" {
		if boolean := content(selinuxBoolean); strings.HasPrefix(boolean, "1") {
			r.ok("SELinux: hooks are unconfined")
		} else {
			r.fail("SELinux: it confines libvirt's hooks, and ours may not program nftables then: setsebool -P virt_hooks_unconfined on")
		}
	}
	// The usual profile lets libvirtd run hooks with its own rights.
	if content(apparmorEnabled) == "Y" {
		profile := content(apparmorProfile) + content(apparmorLocal)
		switch {
		case profile == "":
			r.ok("AppArmor: no profile of libvirtd")
		case strings.Contains(profile, "/etc/libvirt/hooks/**"):
			r.ok("AppArmor: libvirtd may run hooks")
		default:
			r.warn("AppArmor: the profile %s does not name the hooks: if VMs do not start, add \"/etc/libvirt/hooks/** rmix,\" to %s and run \"apparmor_parser -r %s\"", apparmorProfile, apparmorLocal, apparmorProfile)
		}
	}
}

// content gives a small file's text, "" where there is none.
func content(file string) string {
	text, _ := os.ReadFile(file)
	return strings.TrimSpace(string(text))
}

// checkTrunk looks whether a parent carries VLANs, which VMs on it do not reach.
func checkTrunk(r *report, h *host.Host, nic host.NIC) {
	vlans, err := h.VLANs(nic.Index)
	if err != nil || len(vlans) == 0 {
		return
	}
	r.ok("parent %q carries VLANs (%s): VMs on it do not reach them, since tagged frames are dropped; a VM of a VLAN sits on that device, as a parent of its own", nic.Name, strings.Join(vlans, ", "))
}
