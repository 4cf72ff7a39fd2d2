package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
)

// Check says of several [[vm]] sections that would match which one counts, which never does,
// and which is for no VM.
func TestCheckSections(t *testing.T) {
	c, err := config.Parse("c", []byte(`parents = ["eth0"]
[[vm]]
mac = "52:54:00:00:00:01"
[[vm]]
name = "db"
interface = 1
[[vm]]
name = "db"
[[vm]]
name = "gone-*"
[[vm]]
name = "db"
parent = "eth9"
[[vm]]
name = "shut"
parent = "lan0"
[[vm]]
name = "bridged"
`))
	if err != nil {
		t.Fatal(err)
	}
	mac := func(last byte) []byte { return []byte{0x52, 0x54, 0, 0, 0, last} }
	vms := []*domain.Domain{
		{Name: "db", Direct: []domain.Interface{{Number: 1, MAC: mac(1), Parent: "eth0"}, {Number: 2, MAC: mac(2), Parent: "eth0"}}},
		{Name: "shut", Others: []domain.Other{{Number: 1, Type: "network", MAC: mac(3)}}},
		{Name: "bridged", Others: []domain.Other{{Number: 1, Type: "bridge", MAC: mac(4)}}},
	}
	var out strings.Builder
	checkSections(&report{std: streams{out: &out}}, c, vms, func(string) []string { return []string{"eth0", "lan0"} })
	want := []string{
		`warning  [[vm]] of c:4 (name = "db", interface = 1): it never counts: for all that it is for an earlier one does, as for the VM "db" the one of c:2 (mac = "52:54:00:00:00:01"); put the narrower one first`,
		`ok       [[vm]] of c:7 (name = "db"): it counts for 1 of the 2 interfaces that it is for; for others an earlier one does, as for the VM "db" the one of c:2 (mac = "52:54:00:00:00:01")`,
		`warning  [[vm]] of c:9 (name = "gone-*"): libvirt knows no VM that it is for`,
		`warning  [[vm]] of c:11 (name = "db", parent = "eth9"): no macvtap interface that libvirt knows of is one that it is for`,
		`warning  [[vm]] of c:17 (name = "bridged"): no macvtap interface that libvirt knows of is one that it is for`,
	}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(out.String()), "\n")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
