package plan

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"net/netip"

	"github.com/google/go-cmp/cmp"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/ruleset"
)

// fake is a network that is told what to answer, and remembers what it was asked.
type fake struct {
	names   map[string][]string
	facts   map[string]facts.Facts
	answers map[string]facts.Facts // after it was asked
	bad     map[string]error       // by device: what is wrong with it
	asked   []string

	beneath map[string][]string // by device: what it really sits on

	absent    []host.Absent
	protected map[string]bool // by device

	index   int // every device's
	mac     net.HardwareAddr
	guarded bool
	cutsOff bool // new rules would cut off a guest that runs
}

func (f *fake) Names(parent string) ([]string, error) {
	f.asked = append(f.asked, "names "+parent)
	names, ok := f.names[parent]
	if !ok {
		return nil, errors.New("no such NIC")
	}
	return names, nil
}

func (f *fake) Facts(parent string) (facts.Facts, error) {
	f.asked = append(f.asked, "facts "+parent)
	known, ok := f.facts[parent]
	if !ok {
		return known, errors.New("no facts")
	}
	return known, nil
}

func (f *fake) Ask(parent string) (facts.Facts, error) {
	f.asked = append(f.asked, "ask "+parent)
	return f.answers[parent], nil
}

func (f *fake) CutsOff(domain.Interface, []netip.Addr) bool { return f.cutsOff }

func (f *fake) Check(i domain.Interface) (domain.Interface, error) {
	f.asked = append(f.asked, "check "+i.Target)
	i.Index, i.DeviceMAC = f.index, f.mac
	return i, f.bad[i.Target]
}

func (f *fake) Beneath(i domain.Interface) ([]string, error) { return f.beneath[i.Target], nil }

func (f *fake) Absent([]string) ([]host.Absent, error) { return f.absent, nil }

func (f *fake) Protected(i domain.Interface) (bool, error) { return f.protected[i.Target], nil }

func (f *fake) Guarded() bool { return f.guarded }

func lan() *fake {
	return &fake{
		names: map[string][]string{"eth0": {"eth0", "lan0"}, "eth1": {"eth1"}},
		facts: map[string]facts.Facts{"eth0": {Parent: "eth0", OnLink: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}},
		bad:   map[string]error{},
	}
}

func vm(interfaces ...domain.Interface) *domain.Domain {
	return &domain.Domain{Name: "web", UUID: "6695eb01-f6a4-8304-79aa-97f2502e193f", Direct: interfaces}
}

func nic(number int, target, parent string) domain.Interface {
	return domain.Interface{Number: number, Target: target, Parent: parent, MAC: net.HardwareAddr{0x52, 0x54, 0, 0, 0, byte(number)}}
}

func mustParse(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("config.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wordless is a policy that means the same without facts.
const wordless = "parents = [\"lan0\"]\n[policy.default]\ndeny = [\"10.0.0.0/8\"]\nallow = []\n"

func names(p Plan) []string {
	out := []string{}
	for _, t := range p.Tables {
		out = append(out, t.Name)
	}
	return out
}

func TestMake(t *testing.T) {
	n := lan()
	got, err := Make(vm(nic(1, "a", "eth0"), nic(2, "b", "eth1"), nic(4, "c", "eth0")), mustParse(t, wordless), n)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"macvtap-filter-a", "macvtap-filter-c"}, names(got)); diff != "" {
		t.Error(diff)
	}
	if len(got.Warnings) > 0 {
		t.Errorf("warnings: %q", got.Warnings)
	}
	for _, unwanted := range []string{"check b", "facts eth1", "ask eth0"} {
		if slices.Contains(n.asked, unwanted) {
			t.Errorf("the network was asked for: %s", unwanted)
		}
	}
	for _, wanted := range []string{"check a", "check c", "facts eth0"} {
		if !slices.Contains(n.asked, wanted) {
			t.Errorf("the network was not asked for: %s", wanted)
		}
	}
}

// Only the XML of a VM that is shut off can name one device twice.
func TestMakeOneDeviceTwice(t *testing.T) {
	d := vm(nic(1, "a", "eth0"), nic(3, "a", "eth0"))
	_, err := Make(d, mustParse(t, wordless), lan())
	if want := `VM "web": interface "a": interface 1 has the same device`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	d.Complete()
	if made, err := Make(d, mustParse(t, wordless), lan()); err != nil || len(made.Tables) != 2 || made.Tables[1].Name != "macvtap-filter-macvtap0" {
		t.Errorf("once completed: %q, %v", names(made), err)
	}
}

// The rules are made for the MAC address of the domain XML, whatever the device has,
// unless the guest may change it and the policy has them follow.
func TestMakeOtherMAC(t *testing.T) {
	const follow = wordless + "mac_changes = \"follow\"\n"
	for _, test := range []struct {
		config string
		trust  bool
		want   string // the source address that passes
		says   string
	}{
		{wordless, false, "52:54:00:00:00:01", `VM "web": interface "a": its device has the MAC address 02:00:00:00:00:01, and the domain XML says 52:54:00:00:00:01, the only one that it may use`},
		{wordless, true, "52:54:00:00:00:01", `VM "web": interface "a": the guest gave its device the MAC address 02:00:00:00:00:01 (trustGuestRxFilters='yes')`},
		{follow, false, "52:54:00:00:00:01", "its device has"},
		{follow, true, "02:00:00:00:00:01", ""},
	} {
		n := lan()
		n.mac = net.HardwareAddr{2, 0, 0, 0, 0, 1}
		i := nic(1, "a", "eth0")
		i.TrustGuest = test.trust
		made, err := Make(vm(i), mustParse(t, test.config), n)
		if err != nil {
			t.Error(err)
			continue
		}
		if want := "ether saddr " + test.want + " ether type ip "; !strings.Contains(made.Tables[0].String(), want) {
			t.Errorf("trust %t, %s: the rules have no %q", test.trust, test.config, want)
		}
		said := ""
		for _, w := range made.Warnings {
			said += w.Text
			if w.OtherMAC == nil {
				t.Errorf("%s: not about a MAC address", w)
			}
		}
		if !strings.Contains(said, test.says) || test.says == "" && said != "" {
			t.Errorf("trust %t, %s: says %q, want %q", test.trust, test.config, said, test.says)
		}
	}
}

func TestMakeNothing(t *testing.T) {
	for _, d := range []*domain.Domain{vm(), vm(nic(1, "b", "eth1"))} {
		got, err := Make(d, mustParse(t, wordless), lan())
		if err != nil || len(got.Tables) > 0 {
			t.Errorf("%+v: tables %q, error %v", d.Direct, names(got), err)
		}
	}
}

// Facts are read once for a parent, and each parent's policy has its own.
func TestMakeFacts(t *testing.T) {
	c := mustParse(t, "parents = [\"eth*\"]\n[policy.default]\ndeny = [\"onlink\"]\nallow = [\"dns\"]\nipv6 = \"drop\"\n")
	n := lan()
	n.facts["eth1"] = facts.Facts{Parent: "eth1", OnLink: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}
	got, err := Make(vm(nic(1, "a", "eth0"), nic(2, "b", "eth0"), nic(3, "c", "eth1")), c, n)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"192.0.2.0/24", "192.0.2.0/24", "198.51.100.0/24"} {
		if text := got.Tables[i].String(); !strings.Contains(text, want) {
			t.Errorf("table %d lacks %s:\n%s", i+1, want, text)
		}
	}
	read := slices.DeleteFunc(n.asked, func(s string) bool { return !strings.HasPrefix(s, "facts ") })
	if diff := cmp.Diff([]string{"facts eth0", "facts eth1"}, read); diff != "" {
		t.Error(diff)
	}
	// One warning a parent: dns stands for nothing on either.
	if len(got.Warnings) != 2 {
		t.Fatalf("warnings: %q", got.Warnings)
	}
	for i, device := range []string{"a", "c"} {
		if want := `VM "web": interface "` + device + `": policy "default": allow "dns" stands for nothing`; !strings.HasPrefix(got.Warnings[i].Text, want) || got.Warnings[i].Device != device {
			t.Errorf("warning %q, want %q", got.Warnings[i], want)
		}
	}
}

// A policy without words heeds facts that are there, and is warned about where they
// cannot be read.
func TestMakeWithoutWords(t *testing.T) {
	const open = "parents = [\"lan0\"]\n[policy.default]\ndeny = [\"192.0.2.0/24\"]\nallow = [\"192.0.2.0/28\", \"fe80::/10\"]\n"
	n := lan()
	router := netip.MustParseAddr("192.0.2.1")
	known := n.facts["eth0"]
	known.Gateway = []netip.Addr{router}
	n.facts["eth0"] = known
	got, err := Make(vm(nic(1, "a", "eth0")), mustParse(t, open), n)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Warnings) > 0 || got.Blind || !strings.Contains(got.Tables[0].String(), router.String()) {
		t.Errorf("warnings %q; want rules that name the router:\n%s", got.Warnings, got.Tables[0])
	}
	delete(n.facts, "eth0")
	got, err = Make(vm(nic(1, "a", "eth0"), nic(2, "b", "eth0")), mustParse(t, open), n)
	if err != nil {
		t.Fatal(err)
	}
	want := `VM "web": interface "a": policy "default": its rules do not know the gateway and the name servers, whose addresses the VM could take: no facts`
	if len(got.Tables) != 2 || len(got.Warnings) != 1 || got.Warnings[0].Text != want || !got.Blind {
		t.Errorf("tables %q, warnings %q", names(got), got.Warnings)
	}
}

// The gateways are asked where a policy needs a MAC address and none is known, or a guest that
// runs would be cut off: once, since somebody waits for it.
func TestMakeAsks(t *testing.T) {
	const isolated = "parents = [\"lan0\"]\n[policy.default]\ndeny = [\"10.0.0.0/8\"]\nallow = []\nisolate = true\n"
	const macs = "gateway_macs = [\"02:00:00:00:00:01\"]\n"
	idle := lan().facts["eth0"]
	idle.Gateway = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	open := idle
	open.Gateway = []netip.Addr{netip.MustParseAddr("fe80::1")}
	known := idle
	known.GatewayMACs = []facts.MAC{{2, 0, 0, 0, 0, 1}}
	for _, test := range []struct {
		name, config   string
		before, answer facts.Facts
		cutsOff        bool

		asks, warns, fails bool
	}{
		{"unknown", isolated, facts.Facts{}, known, false, true, false, false},
		{"no answer", isolated, facts.Facts{}, facts.Facts{}, false, true, false, true},
		{"known", isolated, known, facts.Facts{}, false, false, false, false},
		{"written", isolated + macs, facts.Facts{}, facts.Facts{}, false, false, false, false},
		{"a start", wordless, idle, known, false, false, false, false},
		{"a guest that runs", wordless, idle, known, true, true, false, false},
		{"a guest that runs, no answer", wordless, idle, idle, true, true, true, false},
		{"a guest that runs, known", wordless, known, facts.Facts{}, true, false, false, false},
		{"a guest that runs, written", wordless + macs, idle, facts.Facts{}, true, false, false, false},
		{"a guest that runs, no gateway", wordless, facts.Facts{}, facts.Facts{}, true, false, false, false},
		{"a guest that runs, a family of which nobody is denied", wordless, open, facts.Facts{}, true, false, false, false},
		{"a guest that runs, any next hop", wordless + "next_hop = \"any\"\n", idle, facts.Facts{}, true, false, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := lan()
			n.facts["eth0"], n.answers = test.before, map[string]facts.Facts{"eth0": test.answer}
			n.cutsOff = test.cutsOff
			made := Each(vm(nic(1, "a", "eth0"), nic(2, "b", "eth0")), mustParse(t, test.config), n)
			warns := slices.ContainsFunc(made.Warnings, func(w Warning) bool { return strings.Contains(w.Text, "write gateway_macs") })
			if warns != test.warns {
				t.Errorf("warnings %q, want one of gateway_macs: %v", made.Warnings, test.warns)
			}
			if failed := len(made.Failed) == 2; failed != test.fails || len(made.Tables) == 2 == test.fails {
				t.Errorf("error %v, want one: %v", made.Err(), test.fails)
			}
			asks := slices.DeleteFunc(n.asked, func(s string) bool { return s != "ask eth0" })
			if want := map[bool]int{true: 1, false: 0}[test.asks]; len(asks) != want {
				t.Errorf("asked %d times, want %d", len(asks), want)
			}
		})
	}
}

// One interface's failure leaves a plan of none.
func TestMakeErrors(t *testing.T) {
	bad := lan()
	bad.bad["b"] = errors.New("wrong MAC")
	tests := []struct {
		about   string
		domain  *domain.Domain
		config  string
		network *fake
		want    string
	}{
		{"unknown NIC", vm(nic(1, "a", "eth0"), nic(2, "b", "eth9")), wordless, lan(), `VM "web": interface "b": no such NIC`},
		{"wrong device", vm(nic(1, "a", "eth0"), nic(2, "b", "eth0")), wordless, bad, `VM "web": interface "b": wrong MAC`},
		{"no device", vm(nic(1, "a", "eth0"), nic(2, "", "eth0")), wordless, lan(), `VM "web": interface 2: nft cannot write the device name ""`},
		{"no facts", vm(nic(1, "a", "eth1")), `parents = ["eth1"]`, lan(), `VM "web": interface "a": policy "default" has words to resolve: no facts`},
		{"deny word that stands for nothing", vm(nic(1, "a", "eth0")), "parents = [\"eth0\"]\n[policy.default]\ndeny = [\"gateway\"]\n", lan(),
			`VM "web": interface "a": policy "default": deny "gateway" stands for nothing`},
		{"no UUID", &domain.Domain{Name: "web", Direct: []domain.Interface{nic(1, "a", "eth0")}}, wordless, lan(), "no <uuid>"},
	}
	for _, test := range tests {
		got, err := Make(test.domain, mustParse(t, test.config), test.network)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.about, err, test.want)
		}
		if len(got.Tables) > 0 {
			t.Errorf("%s: a plan of %q all the same", test.about, names(got))
		}
	}
}

// What is wrong with some interfaces keeps no other from its plan, beside a guard too.
func TestEach(t *testing.T) {
	n := lan()
	n.guarded, n.index = true, 37
	n.bad["a"], n.bad["c"] = errors.New("wrong MAC"), errors.New("gone")
	got := Each(vm(nic(1, "a", "eth0"), nic(2, "b", "eth0"), nic(3, "c", "eth1"), nic(4, "d", "eth1")), mustParse(t, wordless), n)
	if diff := cmp.Diff([]string{"macvtap-filter-b", "macvtap-filter-d"}, names(got)); diff != "" {
		t.Errorf("tables: %s", diff)
	}
	// Rules of "c", which has none, are not those of a device that is to be open.
	if diff := cmp.Diff([][]string{{"d"}, {"d"}}, [][]string{got.Unguarded, got.Open}); diff != "" {
		t.Errorf("on no configured parent: %s", diff)
	}
	err := got.Err()
	if want := "VM \"web\": interface \"a\": wrong MAC\nVM \"web\": interface \"c\": gone"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if err := Each(vm(nic(1, "b", "eth0")), mustParse(t, wordless), n).Err(); err != nil {
		t.Errorf("nothing is wrong: %v", err)
	}
}

func TestRecorded(t *testing.T) {
	r := Recorded{{Parent: "eth0", Names: []string{"lan0"}}, {Parent: "eth1"}}
	for parent, want := range map[string][]string{"eth0": {"eth0", "lan0"}, "lan0": {"eth0", "lan0"}, "eth1": {"eth1"}, "eth9": {"eth9"}} {
		got, err := r.Names(parent)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", parent, diff)
		}
	}
	if f, err := r.Facts("lan0"); err != nil || f.Parent != "eth0" {
		t.Errorf("facts of lan0: %+v, %v", f, err)
	}
	if _, err := r.Facts("eth9"); err == nil || !strings.Contains(err.Error(), `macvtap-filter facts eth9`) {
		t.Errorf("facts of eth9: %v, want what to run", err)
	}
}

// Rules that are programmed are the very device's; those that are only printed are
// anyone's of that name.
func TestMakeBinds(t *testing.T) {
	n := lan()
	for index, want := range map[int]bool{0: false, 37: true} {
		n.index = index
		got, err := Make(vm(nic(1, "a", "eth0")), mustParse(t, wordless), n)
		if err != nil {
			t.Fatal(err)
		}
		if bound(got.Tables[0], 37) != want {
			t.Errorf("index %d: the rules are that device's alone: %t", index, !want)
		}
		if text := got.Tables[0].String(); strings.Contains(text, "mark") {
			t.Errorf("rules mark without a guard:\n%s", text)
		}
	}
}

// bound reports whether both base chains drop the frames of other devices first, and all
// elements of sets of what is a NIC's own are the device's.
func bound(t ruleset.Table, index uint32) bool {
	bases := 0
	for _, c := range t.Chains {
		if c.Hook != nil && c.Rules[0].AsksDevice(index) && c.Rules[0].Verdict == ruleset.Drop {
			bases++
		}
	}
	for _, s := range t.Sets {
		if s.Own() && slices.ContainsFunc(s.Elements, func(e ruleset.Element) bool { return !e.ElementOf(index) }) {
			return false
		}
	}
	return bases == 2
}

// With a guard, by the configuration or as it stands, rules mark what they accept,
// and interfaces on other parents get rules, too, unless they are to stay closed.
func TestMakeGuarded(t *testing.T) {
	for _, test := range []struct {
		about, keys string
		standing    bool
		want, open  []string
	}{
		{"no guard", "", false, []string{"macvtap-filter-macvtap0"}, nil},
		{"configured", "guard = true\n", false, []string{"macvtap-filter-macvtap0", "macvtap-filter-macvtap1"}, []string{"macvtap1"}},
		{"standing", "", true, []string{"macvtap-filter-macvtap0", "macvtap-filter-macvtap1"}, []string{"macvtap1"}},
		{"others stay closed", "guard = true\nguard_others = \"drop\"\n", false, []string{"macvtap-filter-macvtap0"}, nil},
	} {
		n := lan()
		n.guarded, n.index = test.standing, 37
		got, err := Make(vm(nic(1, "macvtap0", "eth0"), nic(2, "macvtap1", "eth1")), mustParse(t, test.keys+wordless), n)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, names(got)); diff != "" {
			t.Errorf("%s: tables: %s", test.about, diff)
		}
		if diff := cmp.Diff(test.open, got.Open); diff != "" {
			t.Errorf("%s: open: %s", test.about, diff)
		}
		if diff := cmp.Diff([]string{"macvtap1"}, got.Unguarded); diff != "" {
			t.Errorf("%s: on no configured parent: %s", test.about, diff)
		}
		for _, table := range got.Tables {
			marks := strings.Contains(table.String(), "meta mark set 0x6d766601") && strings.Contains(table.String(), "meta mark set 0x6d766602")
			if marks != (test.about != "no guard") {
				t.Errorf("%s: the table %s marks: %t", test.about, table.Name, marks)
			}
			if !bound(table, 37) {
				t.Errorf("%s: the table %s is any device's", test.about, table.Name)
			}
		}
		if len(got.Warnings) > 0 {
			t.Errorf("%s: %q", test.about, got.Warnings)
		}
	}
}

func TestMakeWarnsOfNamesThatTheGuardDoesNotKnow(t *testing.T) {
	got, err := Make(vm(nic(1, "web0", "eth0"), nic(2, "macvtap0", "eth0")), mustParse(t, "guard = true\n"+wordless), lan())
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Warnings) != 1 || !strings.HasPrefix(got.Warnings[0].Text, `VM "web": interface "web0": the guard does not close this device`) {
		t.Errorf("warnings: %q", got.Warnings)
	}
}

// A VM's definition is not the last word: the device is where it is.
func TestOtherNICThanTheXMLSays(t *testing.T) {
	n := lan()
	n.beneath = map[string][]string{"a": {"eth0", "lan0"}, "b": {"eth1"}}
	made := Each(vm(nic(1, "a", "eth1"), nic(2, "b", "eth1")), mustParse(t, wordless), n)
	if len(made.Failed) != 1 || made.Failed[0].Interface.Target != "a" || len(made.Unguarded) != 1 {
		t.Fatalf("%+v, want a refused and b let alone", made)
	}
	if said := made.Failed[0].Error(); !strings.Contains(said, `"eth1"`) || !strings.Contains(said, `"eth0"`) {
		t.Errorf("%s: want both NICs named", said)
	}
}

// A parent that is named and missing opens nothing: an interface on another NIC is
// refused while one is, and others are planned.
func TestAbsentParent(t *testing.T) {
	n := lan()
	c := mustParse(t, strings.Replace(wordless, `"lan0"`, `"lan0", "eth2"`, 1))
	n.absent = []host.Absent{{Name: "eth2", Likely: "eth1"}}
	if made, err := Make(vm(nic(1, "a", "eth0")), c, n); err != nil || len(made.Tables) != 1 {
		t.Errorf("on a parent that there is: %v", err)
	}
	_, err := Make(vm(nic(1, "a", "eth0"), nic(2, "b", "eth1")), c, n)
	want := `VM "web": interface "b": its NIC "eth1" is none of the parents in config.toml, and may be one that is misspelt there: this host has no NIC "eth2": did you mean "eth1"?`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v\nwant  %s", err, want)
	}
	var other *OtherError
	if !errors.As(err, &other) {
		t.Errorf("%T", err)
	}
}

// Rules that a device has stay, whatever becomes of its NIC in a file.
func TestProtectedStays(t *testing.T) {
	for _, absent := range [][]host.Absent{nil, {{Name: "eth2", Likely: "eth1"}}} {
		n := lan()
		n.absent, n.protected, n.guarded = absent, map[string]bool{"b": true}, true
		got, err := Make(vm(nic(1, "a", "eth0"), nic(2, "b", "eth1")), mustParse(t, wordless), n)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"macvtap-filter-a", "macvtap-filter-b"}, names(got)); diff != "" {
			t.Error(diff)
		}
		if len(got.Unguarded)+len(got.Open) > 0 || len(got.Kept) != 1 || got.Kept[0].Device != "b" || !judges(got.Tables[1]) {
			t.Errorf("%+v: want the rules of b kept", got)
		}
		if len(got.Warnings) == 0 || !strings.Contains(got.Warnings[0].Text, `"macvtap-filter remove web"`) || strings.Contains(got.Warnings[0].Text, "eth2") != (absent != nil) {
			t.Errorf("warnings: %q", got.Warnings)
		}
	}
}

// What lets everything pass or nothing is no rules to keep, though it is the device's own.
func TestJudges(t *testing.T) {
	d := vm(nic(1, "a", "eth0"))
	open, err := filter.Open(d, d.Direct[0])
	if err != nil {
		t.Fatal(err)
	}
	closed, err := filter.Closed(d, d.Direct[0])
	if err != nil {
		t.Fatal(err)
	}
	n := lan()
	n.guarded, n.index = true, 37
	made, err := Make(d, mustParse(t, wordless), n)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		about string
		table ruleset.Table
		want  bool
	}{{"open", open, false}, {"closed", closed, false}, {"a policy's", made.Tables[0], true}} {
		if got := judges(filter.Mark(test.table).Bind(37)); got != test.want {
			t.Errorf("%s: %t", test.about, got)
		}
	}
}
