//go:build e2e

package e2e

import (
	"strings"
	"syscall"
	"testing"
)

// Check tells that a libvirt that is older than the hook does not run it, and what a running VM has that no rules cover.
func TestCheck(t *testing.T) {
	s := newSite(t)
	s.run(t, "make", "-C", moduleRoot(t), "install", "DESTDIR=", "PARENT="+s.network.Parent)
	s.expectCheck(t, "FAILED   libvirt: process", "started before "+hookPath+" was put there")
	s.restartLibvirt(t, syscall.SIGTERM, func() {})
	s.expectCheck(t, "ok       libvirt: process", "there was a hook, ")
	s.expectCheck(t, "ok       libvirt: process", "there was a hook of networks")
	s.run(t, "sh", "-c", "cp --remove-destination "+commandPath+" /etc/libvirt/hooks/network.d/macvtap-filter")
	s.expectCheck(t, "warning  libvirt: process", "started before /etc/libvirt/hooks/network.d/macvtap-filter was put there")

	nic := s.nics(1)[0]
	vm := s.start(t, "checked", nic)
	s.expectCheck(t, "ok       libvirt: process", "has run the hook")
	s.expectCheck(t, "warning  hot-plug: ", `VMs with direct interfaces: "checked"`)
	s.run(t, "nft", "add table netdev former; add chain netdev former out { type filter hook egress device "+s.deviceOf(t, vm)+" priority 0; }")
	s.expectCheck(t, `warning  nftables: the table "former"`, "nft delete table netdev former")
	s.writeConfig(t, `parents = ["other*"]`)
	s.expectCheck(t, `FAILED   VM "checked": `, `its NIC "`+s.network.Parent+`" is none of the parents`, "its rules stay")
}

// expectCheck fails unless one line of what check prints holds all parts.
func (s *site) expectCheck(t *testing.T, parts ...string) {
	t.Helper()
	out := s.run(t, "sh", "-c", "macvtap-filter check || true") // it fails by what it finds
	for line := range strings.Lines(out) {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			return
		}
	}
	t.Errorf("check does not say %q:\n%s", parts, out)
}
