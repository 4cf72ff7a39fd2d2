package main

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/policy"
	"macvtap-filter/internal/ruleset"
)

// What of a VM's metadata is not taken is said, and is no reason that it does not start.
func TestArrivedWarns(t *testing.T) {
	const about = `VM "web-1": `
	p := policy.Policy{Claimed: []netip.Addr{netip.MustParseAddr("192.168.2.1")}}
	p.Learn = config.LearnFirst
	for name, c := range map[string]struct {
		bound string
		want  string
	}{
		"right": {`<address known="first">192.168.2.30</address>`, ""},
		"the gateway's": {`<address known="first">192.168.2.1</address>`,
			about + `interface "macvtap0": the domain's metadata say that 192.168.2.1 is its own (first), an address that its rules never learn: it is not taken`},
		"not understood": {`<address known="gossip">192.168.2.30</address>`,
			about + `what the domain's metadata say of its addresses is not taken: metadata: <address known="gossip">: want dhcp, first, probe or by hand`},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := domain.Parse(strings.NewReader(`<domain><name>web-1</name><uuid>b7f0c3a4-6d1e-4c52-9a0b-1f4d8e2c7a65</uuid>
<metadata><addresses xmlns="` + domain.AddressesNamespace + `"><nic mac="52:54:00:00:00:01">` + c.bound + `</nic></addresses></metadata>
<devices><interface type="direct"><mac address="52:54:00:00:00:01"/><source dev="eth0"/><target dev="macvtap0"/></interface></devices></domain>`))
			if err != nil {
				t.Fatal(err)
			}
			table, err := filter.Table(d, d.Direct[0], p)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(incoming(d), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			tables, warnings := arrived(d, []ruleset.Table{table.Bind(7)})
			var said []string
			for _, w := range warnings {
				said = append(said, w.Text)
			}
			if got := strings.Join(said, "; "); got != c.want {
				t.Errorf("said %q, want %q", got, c.want)
			}
			own, _, _ := filter.Addresses(tables[0])
			if taken := len(own) == 1; taken != (c.want == "") {
				t.Errorf("its own: %v", own)
			}
		})
	}
}
