package metrics_test

import (
	"bytes"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/metrics"
	"macvtap-filter/internal/status"
)

// since is when all states of the tests began.
var since = time.UnixMilli(1_790_000_000_123)

// picture is a status with everything in it, of interfaces of VMs of these names.
func picture(names ...string) status.Status {
	bytes := func(n uint64) *uint64 { return &n }
	drops := []status.Drop{{Reason: "denied-ipv4", Packets: 3, Bytes: bytes(300)}, {Reason: "vlan", Bytes: bytes(0)}}
	s := status.Status{
		Time: since, Complete: true, Notes: []string{"watch: something", "another"}, Watch: &status.Watch{PID: 7, Since: since},
		Guard: &status.Guard{FromVM: drops, ToVM: drops}, ConfigHash: "5e1f", Sets: []status.Set{{Name: "nic-routers-ipv4", Elements: 3, Most: 1024}},
	}
	states := append(status.States(), "")
	for n, name := range names {
		s.Interfaces = append(s.Interfaces, status.Interface{
			VM: name, UUID: fmt.Sprintf("uuid-%d", n), Device: fmt.Sprintf("macvtap%d", n), Parent: "enp88s0", Policy: "dmz", MAC: "52:54:00:00:00:01",
			State: states[n%len(states)], Since: &since, Rules: 1,
			Addresses: []status.Address{
				{Address: netip.MustParseAddr("192.0.2.7"), Source: filter.DHCP, Since: &since},
				{Address: netip.MustParseAddr("192.0.2.8"), Source: filter.ByHand},
				{Address: netip.MustParseAddr("2001:db8::7"), Source: filter.Probe},
				{Address: netip.MustParseAddr("2001:db8::8"), Source: filter.Probe},
			},
			FromVM: status.Flow{Passed: &status.Count{Packets: 1 << 40, Bytes: 1<<53 - 1}, Drops: append(drops[:2:2], status.Drop{Reason: status.OffloadReason, Packets: 9})},
			ToVM:   status.Flow{Passed: &status.Count{Packets: 1, Bytes: 2}, Arrived: &status.Count{Packets: 5, Bytes: 500}, Drops: drops},
		})
	}
	return s
}

func text(t *testing.T, s status.Status) string {
	t.Helper()
	var out bytes.Buffer
	if err := metrics.Write(&out, s, 1500*time.Microsecond, "1.2.3"); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// parse reads a text by Prometheus's own parser, which refuses a series that comes
// twice and samples that are not together.
func parse(t *testing.T, text string) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return families
}

// value gives the one sample of a metric that has these labels.
func value(t *testing.T, families map[string]*dto.MetricFamily, name string, labels map[string]string) float64 {
	t.Helper()
	var found []float64
	for _, m := range families[name].GetMetric() {
		has := map[string]string{}
		for _, l := range m.GetLabel() {
			has[l.GetName()] = l.GetValue()
		}
		all := true
		for name, want := range labels {
			all = all && has[name] == want
		}
		if all {
			found = append(found, m.GetGauge().GetValue()+m.GetCounter().GetValue())
		}
	}
	if len(found) != 1 {
		t.Errorf("%s%v: the values %v, want one", name, labels, found)
		return math.NaN()
	}
	return found[0]
}

// TestLint shows that Prometheus's own linter has nothing to say.
func TestLint(t *testing.T) {
	for about, s := range map[string]status.Status{
		"everything": picture("web-1", "web-2", "db", "a", "b", "c", "d"),
		"nothing":    {},
	} {
		problems, err := promlint.New(strings.NewReader(text(t, s))).Lint()
		if err != nil {
			t.Fatalf("%s: %v", about, err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s: %s", about, p.Metric, p.Text)
		}
	}
}

// TestFormerNames shows that names which no longer keep to Prometheus's conventions give for a
// release what their successors do, and that no value of ours has a blank in any other.
func TestFormerNames(t *testing.T) {
	families := parse(t, text(t, picture("web-1", "a", "b", "c", "d", "e", "f")))
	renamed := 0
	for name, family := range families {
		base, old := strings.CutSuffix(name, "_frames_total")
		if old {
			renamed++
			now := families[base+"_packets_total"]
			if diff := cmp.Diff(fmt.Sprint(now.GetMetric()), fmt.Sprint(family.GetMetric())); diff != "" || len(now.GetMetric()) == 0 {
				t.Errorf("%s is not as its successor: %s", name, diff)
			}
			if help := family.GetHelp(); !strings.HasPrefix(help, "Deprecated: the same as "+base+"_packets_total") {
				t.Errorf("%s says %q", name, help)
			}
		}
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() != "vm" && strings.Contains(l.GetValue(), " ") && l.GetValue() != string(status.Unknown) {
					t.Errorf("%s: the label %s has the value %q", name, l.GetName(), l.GetValue())
				}
			}
		}
	}
	if renamed != 4 {
		t.Errorf("%d families have a former name, want 4", renamed)
	}
	states := map[string]string{}
	for _, m := range families["macvtap_filter_interface_state"].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		states[labels["vm"]+" "+labels["state"]] = fmt.Sprint(m.GetGauge().GetValue())
	}
	for _, vm := range []string{"web-1", "a", "b", "c", "d", "e", "f"} {
		if now, former := states[vm+" unknown-owner"], states[vm+" "+string(status.Unknown)]; now == "" || now != former {
			t.Errorf("VM %s: the state unknown-owner is %q, and by its former name %q", vm, now, former)
		}
	}
}

// TestWrite holds each figure against what it was made from.
func TestWrite(t *testing.T) {
	families := parse(t, text(t, picture("web-1", "db")))
	web := map[string]string{"vm": "web-1", "uuid": "uuid-0", "device": "macvtap0"}
	with := func(more ...string) map[string]string {
		out := map[string]string{}
		for k, v := range web {
			out[k] = v
		}
		for n := 0; n < len(more); n += 2 {
			out[more[n]] = more[n+1]
		}
		return out
	}
	for _, want := range []struct {
		name   string
		labels map[string]string
		value  float64
	}{
		{"watch_up", nil, 1},
		{"scrape_timestamp_seconds", nil, 1_790_000_000.123},
		{"watch_start_time_seconds", nil, 1_790_000_000.123},
		{"guard_up", nil, 1},
		{"guard_dropped_packets_total", map[string]string{"direction": "to-vm", "reason": "denied-ipv4"}, 3},
		{"guard_dropped_bytes_total", map[string]string{"direction": "from-vm"}, 300},
		{"interface_info", with("parent", "enp88s0", "policy", "dmz", "mac", "52:54:00:00:00:01"), 1},
		{"interface_state", with("state", "protected"), 1},
		{"interface_state", with("state", "drifted"), 0},
		{"interface_state", map[string]string{"vm": "db", "state": "drifted"}, 1},
		{"interface_state_change_timestamp_seconds", web, 1_790_000_000.123},
		{"address_info", with("address", "192.0.2.7", "source", "dhcp"), 1},
		{"address_info", with("address", "192.0.2.8", "source", "by-hand"), 1},
		{"address_info", with("address", "2001:db8::8", "source", "probe"), 1},
		{"address_first_seen_timestamp_seconds", web, 1_790_000_000.123},
		{"address_first_seen_timestamp_seconds", with("address", "192.0.2.7"), 1_790_000_000.123},
		{"learned_addresses", with("family", "ipv4"), 1},
		{"learned_addresses", with("family", "ipv6"), 2},
		{"sent_packets_total", web, 1 << 40},
		{"sent_bytes_total", web, 1<<53 - 1},
		{"arrived_packets_total", web, 5},
		{"arrived_bytes_total", web, 500},
		{"dropped_packets_total", with("direction", "from-vm", "reason", "denied-ipv4"), 3},
		{"dropped_packets_total", with("direction", "from-vm", "reason", "vlan"), 0},
		{"dropped_packets_total", with("direction", "from-vm", "reason", "offload"), 9},
		{"dropped_bytes_total", with("direction", "to-vm"), 300},
		{"config_valid", nil, 1},
		{"config_info", map[string]string{"hash": "5e1f"}, 1},
		{"set_elements", map[string]string{"set": "nic-routers-ipv4"}, 3},
		{"set_max_elements", map[string]string{"set": "nic-routers-ipv4"}, 1024},
		{"problems", nil, 2},
		{"scrape_success", nil, 1},
		{"scrape_duration_seconds", nil, 0.0015},
	} {
		if got := value(t, families, "macvtap_filter_"+want.name, want.labels); got != want.value {
			t.Errorf("%s%v is %v, want %v", want.name, want.labels, got, want.value)
		}
	}
	if version := value(t, families, "macvtap_filter_build_info", map[string]string{"version": "1.2.3"}); version != 1 {
		t.Errorf("build_info is %v", version)
	}
}

// TestNothingGuessed shows that what nobody knows has no figure, rather than 0.
func TestNothingGuessed(t *testing.T) {
	families := parse(t, text(t, status.Status{Interfaces: []status.Interface{{Device: "macvtap0"}}}))
	for _, name := range []string{"sent_packets_total", "arrived_bytes_total", "dropped_packets_total", "dropped_bytes_total", "interface_state_change_timestamp_seconds", "watch_start_time_seconds", "guard_dropped_packets_total", "learned_addresses", "config_valid", "config_info"} {
		if got := families["macvtap_filter_"+name].GetMetric(); len(got) > 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, name := range []string{"watch_up", "guard_up", "scrape_success"} {
		if got := value(t, families, "macvtap_filter_"+name, nil); got != 0 {
			t.Errorf("%s is %v", name, got)
		}
	}
	for _, s := range status.States() {
		if got := value(t, families, "macvtap_filter_interface_state", map[string]string{"state": string(s)}); got != 0 {
			t.Errorf("the state %q is %v, and nobody could tell", s, got)
		}
	}
}

// TestNames shows that a VM's name is a label's value and no more, whatever is in it.
func TestNames(t *testing.T) {
	for _, name := range []string{
		"web-1", "网关 一号", "خادم", "🦊", `quote"back\slash`, `\`, `\\"`, `"} 1`, "a\nmacvtap_filter_watch_up 0\n", "tab\tbell\a\u202e", "", "\\n", strings.Repeat("长", 5000),
	} {
		written := text(t, picture("other", name))
		families := parse(t, written)
		if got := value(t, families, "macvtap_filter_arrived_packets_total", map[string]string{"vm": name}); got != 5 {
			t.Errorf("%q: %v", name, got)
		}
		if got := value(t, families, "macvtap_filter_watch_up", nil); got != 1 {
			t.Errorf("%q changes another metric: %v", name, got)
		}
		if lines := strings.Count(written, "\n"); lines != strings.Count(text(t, picture("other", "plain")), "\n") {
			t.Errorf("%q: %d lines", name, lines)
		}
	}
	broken := parse(t, text(t, picture("a\xff\xfeb")))
	value(t, broken, "macvtap_filter_arrived_packets_total", map[string]string{"vm": "a\ufffdb"})
}

// TestBounded shows that the number of series grows with the interfaces alone, so much
// for each, and that a whole table of drops is in it.
func TestBounded(t *testing.T) {
	lines := func(n int) int {
		names := make([]string, n)
		for i := range names {
			names[i] = "vm"
		}
		return strings.Count(text(t, picture(names...)), "\n")
	}
	none, one, hundred := lines(0), lines(1), lines(100)
	if (hundred - none) != 100*(one-none) {
		t.Errorf("%d lines for none, %d for one, %d for a hundred", none, one, hundred)
	}
}

// TestAnyName shows that no name, policy or reason breaks a page, and that each is read
// back as it was, but for bytes that are no UTF-8.
func TestAnyName(t *testing.T) {
	const signs = "ab \\\"\n\r\t\x00\x7f{}=,#é网\u2028\u202e\xff\xc3🦊"
	any := func(name string) bool {
		s := picture(name)
		s.Interfaces[0].Policy, s.Interfaces[0].Parent, s.Interfaces[0].ToVM.Drops[0].Reason = name, name, name
		families := parse(t, text(t, s))
		clean := strings.ToValidUTF8(name, "\ufffd")
		value(t, families, "macvtap_filter_interface_info", map[string]string{"vm": clean, "policy": clean, "parent": clean})
		value(t, families, "macvtap_filter_dropped_packets_total", map[string]string{"vm": clean, "direction": "to-vm", "reason": clean})
		return !t.Failed()
	}
	if err := quick.Check(any, &quick.Config{MaxCount: 300}); err != nil {
		t.Error(err)
	}
	odd := func(bytes []byte) bool {
		for n := range bytes {
			bytes[n] = signs[int(bytes[n])%len(signs)]
		}
		return any(string(bytes))
	}
	if err := quick.Check(odd, &quick.Config{MaxCount: 300}); err != nil {
		t.Error(err)
	}
}
