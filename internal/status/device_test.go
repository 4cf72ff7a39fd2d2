package status_test

import (
	"strings"
	"testing"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/status"
)

// TestByInterface shows rules that stand for an interface whose place has another policy by
// now: they say nothing of the place, so that libvirt is asked.
func TestByInterface(t *testing.T) {
	n := network(t)
	plug(t, n, "macvtap0", webMAC)
	hook(t, n, web) // it is the second of its VM's
	byPlace := strings.Replace(dmz, "[[vm]]", "[[vm]]\nname = \"web-1\"\ninterface = 2\n\n[[vm]]", 1)
	is(t, look(t, n, byPlace, &fakeLibvirt{vms: []string{web}}), status.Drifted, "other rules stand than should")
	is(t, look(t, n, byPlace, &fakeLibvirt{away: true}), "", "which rules should stand only its VM's domain XML tells")
}

// TestSection shows a device that a [[device]] section is for, without a watch: by the name that
// the section has for it, and as right as a VM's. One that libvirt says is a VM's is not.
func TestSection(t *testing.T) {
	n := network(t)
	plug(t, n, "macvtap0", webMAC)
	text := dmz + "\n[[device]]\nname = \"macvtap?\"\npolicy = \"dmz\"\n"
	c, err := config.Parse("config.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	nobody := []*fakeLibvirt{{away: true}, {}}
	for _, l := range nobody {
		is(t, look(t, n, text, l), status.Unprotected, `"macvtap-filter verify --repair" makes them`)
	}
	program(t, n, c, domain.Device(domain.Interface{Number: 1, Target: "macvtap0", Parent: "enp88s0", MAC: webMAC}))
	for _, l := range nobody {
		s := look(t, n, text, l)
		is(t, s, status.Protected, "")
		if i := only(t, s); i.VM != "" || i.UUID != "" || i.Section != "macvtap?" || i.Policy != "dmz" || !s.Right() || !i.Is("macvtap0") {
			t.Errorf("%+v", i)
		}
	}
	is(t, look(t, n, dmz, nobody[1]), status.Drifted, "rules of a [[device]] section stand, and none is for it")
	is(t, look(t, n, text, &fakeLibvirt{vms: []string{web}}), status.Drifted, "rules")
	nft(t, n, "insert rule netdev macvtap-filter from-vm-macvtap0 accept")
	for _, l := range nobody {
		is(t, look(t, n, text, l), status.Drifted, "other rules stand than should")
	}
}
