//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The Ansible role makes a host what it should be, changes nothing the second time, and installs no configuration that the
// program does not understand.
func TestAnsibleRole(t *testing.T) {
	packages := filepath.Dir(buildPackages(t, "1.0.0")["deb"])
	s := packagedSite(t)
	const variables = `{"macvtap_filter_parents": ["enp88s0"], "macvtap_filter_general": {"reconnect": "keep"},
		"macvtap_filter_policies": {"default": {}, "dmz": {"allow": ["gateway", "dns", "broadcast"], "log": true}},
		"macvtap_filter_vms": [{"name": "d-*", "policy": "dmz"}]`
	play := func(more string, args ...string) (string, error) {
		t.Helper()
		role := filepath.Join(moduleRoot(t), "testdata", "ansible")
		command := []string{"HOME=/run/ansible", "ANSIBLE_ROLES_PATH=" + filepath.Join(role, "roles"), "ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3", "LC_ALL=C.UTF-8",
			"ansible-playbook", "-i", "hypervisor,", "-c", "local", "-l", "all", "-e", variables + `, "macvtap_filter_packages": "` + packages + `"` + more + `}`}
		out, err := s.hv.Run(t.Context(), "env", append(append(command, args...), "/run/site.yml")...)
		t.Logf("ansible-playbook %s\n%s", strings.Join(args, " "), out)
		return out, err
	}
	// The play of testdata, for the one host that there is.
	site, err := os.ReadFile(filepath.Join(moduleRoot(t), "testdata", "ansible", "site.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.hv.Path("/run/site.yml"), []byte(strings.Replace(string(site), "hosts: hypervisors", "hosts: all", 1)), 0o644); err != nil {
		t.Fatal(err)
	}

	// Nothing here restarts services, which is why the host is not ready yet.
	if _, err := play("", "--skip-tags", "ready"); err != nil {
		t.Fatal(err)
	}
	s.restartLibvirt(t, syscall.SIGTERM, func() {})
	config := s.readConfig(t)
	wantSaid(t, config, `(?m)^parents = \["enp88s0"\]$`, `(?m)^reconnect = "keep"$`, `(?m)^\[policy\."dmz"\]$`, `(?m)^log = true$`, `(?m)^\[\[vm\]\]\nname = "d-\*"$`)
	vm := s.start(t, "d-one", s.nics(1)...)
	s.expectShielded(t, vm)
	wantSaid(t, s.run(t, "nft", "list", "ruleset"), `log prefix .*d-one`)
	rules := s.rules(t)

	out, err := play("")
	if err != nil {
		t.Fatal(err)
	}
	wantSaid(t, out, `changed=0 .*failed=0 `)
	s.expectRules(t, rules, true)

	if out, err := play(`, "macvtap_filter_general": {"reconect": "keep"}`); err == nil {
		t.Error("a configuration with a misspelt key is installed")
	} else {
		wantSaid(t, out, `unknown key reconect`)
	}
	if s.readConfig(t) != config {
		t.Errorf("the configuration is now\n%s", s.readConfig(t))
	}
	s.expectRules(t, rules, true)
}
