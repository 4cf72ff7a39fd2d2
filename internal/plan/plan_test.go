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
)

// fake is a network that is told what to answer, and remembers what it was asked.
type fake struct {
	names map[string][]string
	facts map[string]facts.Facts
	bad   map[string]error // by device: what is wrong with it
	asked []string
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

func (f *fake) Check(i domain.Interface) (net.HardwareAddr, error) {
	f.asked = append(f.asked, "check "+i.Target)
	return i.MAC, f.bad[i.Target]
}

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

// wordless is a policy that asks for no facts.
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
	for _, unwanted := range []string{"check b", "facts eth0", "facts eth1"} {
		if slices.Contains(n.asked, unwanted) {
			t.Errorf("the network was asked for: %s", unwanted)
		}
	}
	for _, wanted := range []string{"check a", "check c"} {
		if !slices.Contains(n.asked, wanted) {
			t.Errorf("the network was not asked for: %s", wanted)
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
		if want := `VM "web": interface "` + device + `": policy "default": allow "dns" stands for nothing`; !strings.HasPrefix(got.Warnings[i], want) {
			t.Errorf("warning %q, want %q", got.Warnings[i], want)
		}
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
		{"no facts", vm(nic(1, "a", "eth1")), `parents = ["eth1"]`, lan(), `VM "web": interface "a": no facts`},
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
