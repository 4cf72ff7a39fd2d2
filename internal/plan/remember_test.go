package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Many VMs on one parent ask the network once; what fails is asked again.
func TestRemember(t *testing.T) {
	n := lan()
	network := Remember(n)
	c := mustParse(t, "parents = [\"lan0\"]\n[policy.default]\ndeny = [\"onlink\"]\nallow = []\n")
	for range 3 {
		made, err := Make(vm(nic(1, "a", "eth0")), c, network)
		if err != nil || len(made.Tables) != 1 {
			t.Fatal(made, err)
		}
	}
	if diff := cmp.Diff([]string{"names eth0", "check a", "facts eth0", "check a", "check a"}, n.asked); diff != "" {
		t.Error(diff)
	}
	n.asked = nil
	for range 2 {
		if _, err := network.Names("gone"); err == nil {
			t.Error("no error")
		}
	}
	if len(n.asked) != 2 {
		t.Errorf("asked %q", n.asked)
	}
}
