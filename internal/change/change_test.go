package change_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"macvtap-filter/internal/change"
	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
)

const xml = `<domain><name>web</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid><devices>
<interface type='direct'><mac address='52:54:00:00:00:01'/><source dev='enp88s0' mode='bridge'/><target dev='macvtap0'/></interface>
</devices></domain>`

const site = `{"parent": "enp88s0", "gateway": ["192.168.2.1", "fe80::1"], "dns": ["192.168.2.53"], "broadcast": ["192.168.2.255"], "onlink": ["192.168.2.0/24", "2001:db8:2::/64"], "gateway_macs": ["02:00:00:00:00:01"]}`

// rules gives web's under a policy, on a network.
func rules(t *testing.T, policy, site string) (ruleset.Table, facts.Facts) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte("parents = [\"enp88s0\"]\n[policy.default]\n"+policy), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	known, err := facts.Read(strings.NewReader(site))
	if err != nil {
		t.Fatal(err)
	}
	d, err := domain.Parse(strings.NewReader(xml))
	if err != nil {
		t.Fatal(err)
	}
	made, err := plan.Make(d, c, plan.Recorded(known))
	if err != nil {
		t.Fatal(err)
	}
	return made.Tables[0], known[0]
}

// What differs is what peers gain and lose, whatever addresses the VM and its router have.
func TestOf(t *testing.T) {
	otherSite := strings.NewReplacer("02:00:00:00:00:01", "02:00:00:00:00:09", "192.168.2.53", "192.168.2.54").Replace(site)
	strange := strings.Replace(site, `, "gateway_macs": ["02:00:00:00:00:01"]`, "", 1)
	for _, c := range []struct{ name, old, now, before, after, opens, closes string }{
		{"the same", "", "", site, site, "", ""},
		{"an entry", "", `allow = ["gateway", "dns udp/53 tcp/53", "192.168.2.20 tcp/445"]`, site, site, "+192.168.2.20: tcp/445", "-192.168.2.53: anything but tcp/53, udp/53"},
		{"an entry less", `allow = ["gateway", "dns", "192.168.2.20 tcp/445"]`, `allow = ["gateway", "dns"]`, site, site, "", "-192.168.2.20: tcp/445"},
		{"a service", "", `inbound = ["tcp/22"]`, site, site, "", "-opened by 0.0.0.0/0 but "},
		{"the router's MAC address", "", "", strange, site, "", ""},
		{"the name server and the router's MAC address", `allow = ["gateway", "dns tcp/53"]`, `allow = ["gateway", "dns tcp/53"]`, site, otherSite, "+192.168.2.54: tcp/53", "-192.168.2.53: tcp/53"},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, _ := rules(t, c.old, c.before)
			now, known := rules(t, c.now, c.after)
			got, err := change.Of(old, now, known)
			if err != nil {
				t.Fatal(err)
			}
			opens, closes := strings.Join(change.Lines(got.Opens, "+"), "\n"), strings.Join(change.Lines(got.Closes, "-"), "\n")
			if c.opens == "" && opens != "" || !strings.Contains(opens, c.opens) || c.closes == "" && closes != "" || !strings.Contains(closes, c.closes) {
				t.Errorf("opens:\n%s\ncloses:\n%s\nwant %s, %s", opens, closes, c.opens, c.closes)
			}
		})
	}
}

// A line of a log has a bound.
func TestBounded(t *testing.T) {
	lines := []string{"192.168.2.20: tcp/445", "192.168.2.21: tcp/445"}
	if got := change.Bounded(lines, 100); got != "192.168.2.20: tcp/445; 192.168.2.21: tcp/445" {
		t.Error(got)
	}
	if got := change.Bounded(lines, 30); got != "192.168.2.20: tcp/445; … and more: 2 lines in all" {
		t.Error(got)
	}
}
