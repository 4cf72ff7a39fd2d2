//go:build e2e

package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The Ansible role makes a host what it should be, changes nothing the second time, and installs no configuration that the
// program on the controlling machine refuses. A roll ends at the first host that is worse than it was.
func TestAnsibleRole(t *testing.T) {
	packages := filepath.Dir(buildPackages(t, "1.0.0")["deb"])
	role := filepath.Join(moduleRoot(t), "testdata", "ansible")
	program := filepath.Join(t.TempDir(), "macvtap-filter") // the controlling machine's
	if said, err := exec.Command("go", "build", "-o", program, "macvtap-filter/cmd/macvtap-filter").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, said)
	}
	s := packagedSite(t)
	usual := map[string]any{
		"macvtap_filter_packages": packages,
		"macvtap_filter_test":     []string{program, "test"},
		"macvtap_filter_parents":  []string{"enp88s0"}, "macvtap_filter_general": map[string]string{"reconnect": "keep"},
		"macvtap_filter_policies": map[string]any{"default": map[string]any{}, "dmz": map[string]any{"allow": []string{"gateway", "dns", "broadcast"}, "log": true}},
		"macvtap_filter_vms":      []any{map[string]string{"name": "d-*", "policy": "dmz"}},
	}
	play := func(hosts string, other map[string]any, args ...string) (string, error) {
		t.Helper()
		all := maps.Clone(usual)
		maps.Copy(all, other)
		variables, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		command := []string{"HOME=/run/ansible", "ANSIBLE_ROLES_PATH=" + filepath.Join(role, "roles"), "ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3", "LC_ALL=C.UTF-8",
			"ansible-playbook", "-i", hosts, "-c", "local", "-l", "all", "-e", string(variables)}
		out, err := s.hv.Run(t.Context(), "env", append(append(command, args...), "/run/site.yml")...)
		t.Logf("ansible-playbook %s %s\n%s", hosts, strings.Join(args, " "), out)
		return out, err
	}
	// The play of testdata, for the hosts that there are.
	site, err := os.ReadFile(filepath.Join(role, "site.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.hv.Path("/run/site.yml"), []byte(strings.ReplaceAll(string(site), "hosts: hypervisors", "hosts: all")), 0o644); err != nil {
		t.Fatal(err)
	}

	// Nothing here restarts services, which is why the host is not ready yet.
	if _, err := play("hypervisor,", nil, "--skip-tags", "ready"); err != nil {
		t.Fatal(err)
	}
	s.restartLibvirt(t, syscall.SIGTERM, func() {})
	config := s.readConfig(t)
	wantSaid(t, config, `(?m)^parents = \["enp88s0"\]$`, `(?m)^reconnect = "keep"$`, `(?m)^\[policy\."dmz"\]$`, `(?m)^log = true$`, `(?m)^\[\[vm\]\]\nname = "d-\*"$`)
	vm := s.start(t, "d-one", s.nics(1)...)
	s.expectShielded(t, vm)
	wantSaid(t, s.run(t, "nft", "list", "ruleset"), `log prefix .*d-one`)
	rules := s.rules(t)

	out, err := play("hypervisor,", nil)
	if err != nil {
		t.Fatal(err)
	}
	wantSaid(t, out, `changed=0 .*failed=0 `)
	s.expectRules(t, rules, true)

	// What the controlling machine refuses comes to no host.
	if out, err := play("hypervisor,second,", map[string]any{"macvtap_filter_general": map[string]string{"reconect": "keep"}}); err == nil {
		t.Error("a configuration with a misspelt key is installed")
	} else {
		wantSaid(t, out, `unknown key reconect`, `(?s)TASK \[macvtap_filter : Do its tests hold\?\]`)
		if strings.Contains(out, "TASK [macvtap_filter : Write the configuration]") {
			t.Error("hosts were touched")
		}
	}
	if s.readConfig(t) != config {
		t.Errorf("the configuration is now\n%s", s.readConfig(t))
	}
	s.expectRules(t, rules, true)

	if out, err := play("hypervisor,second,", map[string]any{"macvtap_filter_tests": []any{map[string]any{"policy": "dmz", "cannot": []string{"internet tcp/25"}}}}); err == nil {
		t.Error("a configuration that breaks its own tests is installed")
	} else {
		wantSaid(t, out, `cannot .*internet tcp/25.* does not hold`)
		if strings.Contains(out, "TASK [macvtap_filter : Write the configuration]") {
			t.Error("hosts were touched")
		}
	}

	// What makes a host worse goes no further.
	out, err = play("hypervisor,second,", map[string]any{"macvtap_filter_parents": []string{"enp88s0", "absent7"}})
	if err == nil {
		t.Error("a parent that no host has is installed everywhere")
	}
	wantSaid(t, out, `changed: \[hypervisor\]`, `hypervisor is worse than before, and no other host is touched: parent \\?"absent7`)
	if n := strings.Count(out, "TASK [macvtap_filter : Write the configuration]"); n != 1 {
		t.Errorf("%d hosts got the configuration, want one", n)
	}
	s.expectShielded(t, vm)

	// Who mends it, and changes rules, sees that they changed.
	out, err = play("hypervisor,", map[string]any{"macvtap_filter_policies": map[string]any{"default": map[string]any{}, "dmz": map[string]any{"allow": []string{"gateway", "dns", "broadcast"}, "log": false}}})
	if err != nil {
		t.Error(err)
	}
	wantSaid(t, out, `(?s)TASK \[macvtap_filter : Have the rules of running VMs stand\][^\n]*\n[^T]*changed: \[hypervisor\]`)
}
