package policytest

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/facts"
)

var known = facts.Facts{
	Parent: "eth0", Gateway: addresses("192.168.2.1", "fe80::1"), DNS: addresses("192.168.2.53"), Broadcast: addresses("192.168.2.255"),
	OnLink: []netip.Prefix{netip.MustParsePrefix("192.168.2.0/24"), netip.MustParsePrefix("2001:db8:2::/64")}, Host: addresses("192.168.2.5"),
}

func addresses(all ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range all {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("config.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Each entry is decided for all that it stands for: one address or port that is otherwise breaks it.
func TestEntries(t *testing.T) {
	for _, c := range []struct {
		policy string // its keys
		test   string // one list
		broken string // part of what is said, "" where it holds
	}{
		{"", `can = ["internet"]`, ""},
		{"", `can = ["internet tcp/443 icmp"]`, ""},
		{"", `can = ["tcp/443"]`, ""}, // of the internet
		{"", `can = ["dns"]`, ""},
		{"", `can = ["gateway", "192.168.2.1"]`, ""},
		{"", `can = ["192.168.2.77"]`, "192.168.2.77, TCP 40000 > 1 [SYN]) is dropped by"},
		{"", `can = ["fe80::1 icmp"]`, ""},
		{"", `can = ["8.8.8.0/24 sctp/5060"]`, ""},
		{"ipv6 = \"drop\"", `can = ["internet"]`, ""},
		{"ipv6 = \"drop\"", `can = ["2606:4700::1111 tcp/443"]`, "2606:4700::1111"},
		{"ipv6 = \"drop\"", `cannot = ["::/0"]`, ""},
		{"deny = [\"inherit\", \"203.0.113.7\"]", `can = ["internet"]`, "203.0.113.7"},
		{"deny = [\"inherit\", \"203.0.113.7\"]", `cannot = ["203.0.113.7"]`, ""},
		{"", `cannot = ["192.168.2.64-192.168.2.255"]`, ""}, // "broadcast" is for DHCP
		{"", `cannot = ["192.168.2.64/26", "10.0.0.0/8", "172.16.0.0/12", "fc00::/7", "2001:db8:2::/64"]`, ""},
		{"", `cannot = ["192.168.2.48/28"]`, "192.168.2.53"},
		{"", `cannot = ["192.168.2.48/28 tcp/22"]`, "> 192.168.2.53, TCP 40000 > 22"},
		{"allow = [\"router\", \"dns udp/53\"]", `cannot = ["192.168.2.48/28 tcp/22"]`, ""},
		{"allow = [\"router\", \"dns udp/53\"]", `cannot = ["dns"]`, "UDP 40000 > 53"},
		{"dhcp = \"server\"", `cannot = ["192.168.2.77"]`, ""}, // but for DHCP
		{"", `cannot = ["tcp/25"]`, "TCP 40000 > 25"},
		{"outbound = [\"udp/53\", \"tcp/443\"]", `cannot = ["tcp/25"]`, ""},
		{"outbound = [\"tcp/24-26\"]", `cannot = ["tcp/26-30"]`, "TCP 40000 > 26"},
		{"", "can = [\"192.168.2.53\", \"192.168.2.1\"]\ncannot = [\"192.168.2.0/25\"]", ""},
		{"", "can = [\"internet\", \"192.168.2.53\", \"gateway\"]\ncannot = [\"any\"]", ""},
		{"", "can = [\"internet\", \"192.168.2.53\"]\ncannot = [\"any\"]", "192.168.2.1"},
		{"allow = [\"192.168.2.53\"]\ndhcp = \"client\"", "can = [\"internet\", \"192.168.2.53\"]\ncannot = [\"0.0.0.0/0\", \"::/0\"]", ""},
		{"", `reached_by = ["internet"]`, ""},
		{"inbound = [\"tcp/443\"]", `reached_by = ["internet tcp/443"]`, ""},
		{"deny = []", `reached_by = ["192.168.2.0/24", "fe80::/10", "2001:db8:2::/64"]`, ""}, // the broadcast address sends nothing
		{"inbound = [\"tcp/443\"]", `reached_by = ["internet tcp/442-443"]`, "> 442 [SYN]) is dropped by \"not in inbound\""},
		{"inbound = [\"tcp/443\"]", "reached_by = [\"tcp/443\"]\nnot_reached_by = [\"internet\"]", ""},
		{"inbound = [\"tcp/443\"]", `not_reached_by = ["udp/1-65535", "icmp", "tcp/1-442"]`, ""},
		{"serve = [\"tcp/80\"]", `reached_by = ["192.168.2.77 tcp/80"]`, ""},
		{"serve = [\"tcp/80\"]", `not_reached_by = ["192.168.2.77"]`, "40000 > 80 [SYN]) passes by"},
		{"serve = [\"udp/53\"]", `cannot = ["192.168.2.77"]`, ""}, // it answers whom it was asked by
		{"", `not_reached_by = ["192.168.2.77", "10.0.0.0/8", "fc00::/7"]`, ""},
		{"allow = [\"192.168.2.10 tcp/873\"]", `not_reached_by = ["192.168.2.10"]`, "TCP 873 >"},
	} {
		t.Run(c.policy+" "+c.test, func(t *testing.T) {
			_, err := Check(parse(t, "parents = [\"eth0\"]\n[policy.default]\n"+c.policy+"\n[[test]]\npolicy = \"default\"\n"+c.test+"\n"), []facts.Facts{known})
			switch {
			case c.broken == "" && err != nil:
				t.Errorf("does not hold: %v", err)
			case c.broken != "" && (err == nil || !strings.Contains(err.Error(), c.broken)):
				t.Errorf("want %q in: %v", c.broken, err)
			}
		})
	}
}

// Every policy that an interface of the VM may have is tested, on every parent, and no other.
func TestWhose(t *testing.T) {
	const policies = `
[policy.open]
allow = ["inherit", "192.168.2.77"]
[[vm]]
name = "web-1"
mac = "52:54:00:12:34:56"
policy = "open"
[[vm]]
uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f"
policy = "open"
[[vm]]
name = "far"
parent = "eth1"
policy = "open"
[[vm]]
name = "two"
interface = 2
policy = "open"
[[device]]
name = "mac8"
mac = "52:54:00:12:34:56"
policy = "open"
[[device]]
name = "mac7"
policy = "open"
[[device]]
name = "mac*"
`
	other := known
	other.Parent = "eth1"
	for test, want := range map[string]string{
		`vm = "web-1"`:     `config.toml:30:11: [[test]] of VM "web-1"`,
		`vm = "web-2"`:     "",
		`vm = "web-*"`:     `config.toml:30:11: [[test]] of VM "web-*"`,
		`vm = "db*"`:       "",
		`vm = "two"`:       `config.toml:30:11: [[test]] of VM "two"`,
		`device = "mac8"`:  `config.toml:30:11: [[test]] of device "mac8"`,
		`device = "mac9"`:  "",
		`vm = "far"`:       `config.toml:30:11: [[test]] of VM "far"`,
		`device = "mac7"`:  `config.toml:30:11: [[test]] of device "mac7"`,
		`policy = "open"`:  `config.toml:30:11: [[test]] of policy "open"`,
		`vm = "[odd] web"`: "",
	} {
		c := parse(t, `parents = ["eth0", "eth1"]`+policies+"[[test]]\n"+test+"\ncannot = [\"192.168.2.77\"]\n")
		_, err := Check(c, []facts.Facts{known, other})
		if err == nil && want != "" || err != nil && (want == "" || !strings.HasPrefix(err.Error(), want+": cannot \"192.168.2.77\" does not hold") || strings.Contains(err.Error(), "more:")) {
			t.Errorf("%s: want %q, got: %v", test, want, err)
		}
	}
}

// A host whose network is not up yet decides what needs none.
func TestWithoutNetwork(t *testing.T) {
	c := parse(t, "parents = [\"eth0\"]\n[[test]]\npolicy = \"default\"\ncan = [\"internet\", \"dns\"]\ncannot = [\"192.168.2.77\"]\nreached_by = [\"internet\"]\n")
	for _, f := range [][]facts.Facts{{{Parent: "eth0"}}} {
		results, err := Check(c, f)
		if err != nil || len(results) != 1 || results[0].Err == nil {
			t.Errorf("%v: want a test that is not decided, since onlink is nowhere: %v, %v", f, results, err)
		}
		c := parse(t, "parents = [\"eth0\"]\n[policy.default]\ndeny = [\"private\"]\n[[test]]\npolicy = \"default\"\ncan = [\"internet\", \"dns\"]\ncannot = [\"192.168.2.77\"]\nreached_by = [\"internet\"]\n")
		if results, err = Check(c, f); err != nil || results[0].Err != nil {
			t.Errorf("%v: %v, %v", f, err, results[0].Err)
		}
	}
}

// A configuration is decided once, whatever becomes of the network, and another program decides anew.
func TestTake(t *testing.T) {
	asked := 0
	now := known
	taker := Taker{Record: filepath.Join(t.TempDir(), "lib", "tested"), Version: "1", Facts: func(*config.Config) ([]facts.Facts, error) {
		asked++
		return []facts.Facts{now}, nil
	}}
	good := parse(t, "parents = [\"eth0\"]\n[[test]]\npolicy = \"default\"\ncannot = [\"192.168.2.54\"]\n")
	slip := parse(t, "parents = [\"eth0\"]\n[policy.default]\nallow = [\"192.168.2.54\"]\n[[test]]\npolicy = \"default\"\ncannot = [\"192.168.2.54\"]\n")
	take := func(c *config.Config, asks int, fails bool) {
		t.Helper()
		asked = 0
		err := taker.Take(c)
		if _, broken := errors.AsType[*config.Error](err); broken != fails || asked != asks {
			t.Errorf("asked %d times, want %d; %v", asked, asks, err)
		}
	}
	take(parse(t, `parents = ["eth0"]`), 0, false)
	take(slip, 1, true)
	take(slip, 1, true)
	take(good, 1, false)
	now.DNS = addresses("192.168.2.54")
	take(good, 0, false)
	taker.Version = "2"
	take(good, 1, true)
	now = known
	take(good, 1, false)
	if err := os.Chmod(taker.Record, 0o666); err != nil {
		t.Fatal(err)
	}
	take(good, 1, false) // anybody could have written it
	now = facts.Facts{Parent: "eth0"}
	later := parse(t, "parents = [\"eth0\"]\n[[test]]\npolicy = \"default\"\ncannot = [\"192.168.2.55\"]\n")
	take(later, 1, false) // not decided: no rules can be made yet
	take(later, 1, false)
}

// Until the network is known as a whole, a test refuses nothing but what is open.
func TestTakeWithoutNetwork(t *testing.T) {
	now := []facts.Facts{{Parent: "eth0", OnLink: known.OnLink, Gateway: known.Gateway, Broadcast: known.Broadcast}}
	taker := Taker{Record: filepath.Join(t.TempDir(), "tested"), Version: "1", Facts: func(*config.Config) ([]facts.Facts, error) { return now, nil }}
	const can = "[[test]]\npolicy = \"default\"\ncan = [\"192.168.2.53 udp/53\"]\n"
	const cannot = "cannot = [\"192.168.2.54\"]\n"
	for _, c := range []struct {
		text  string
		facts []facts.Facts
		fails bool
	}{
		{`parents = ["eth0"]` + "\n" + can, now, true}, // nobody named a name server, and the network is known
		{`parents = ["eth0", "eth1"]` + "\n" + can, now, false},
		{`parents = ["eth0"]` + "\n" + can + "reached_by = [\"dns\"]\n", now, false},
		{`parents = ["eth0", "eth1"]` + "\npolicy.default.allow = [\"192.168.2.54\"]\n" + can + cannot, now, true},
		{`parents = ["eth1"]` + "\n" + can, nil, false},
	} {
		now = c.facts
		if err := taker.Take(parse(t, c.text)); (err != nil) != c.fails {
			t.Errorf("%s: %v: want refused: %t; %v", c.text, c.facts, c.fails, err)
		}
	}
	// What was taken while a parent was missing is decided again once it is there.
	eth1 := known
	eth1.Parent, eth1.DNS = "eth1", addresses("192.168.2.54")
	c := parse(t, "parents = [\"eth0\", \"eth1\"]\n[[test]]\npolicy = \"default\"\n"+cannot)
	now = []facts.Facts{known}
	if err := taker.Take(c); err != nil {
		t.Error(err)
	}
	now = []facts.Facts{known, eth1}
	if err := taker.Take(c); err == nil {
		t.Error("what is open on the parent that came later is not seen")
	}
}
