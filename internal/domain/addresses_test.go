package domain

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// inNamespace writes an element as libvirt does that was given it.
func inNamespace(element string) string {
	element = strings.NewReplacer("</", "</mva:", "<", "<mva:").Replace(element)
	return strings.Replace(element, "<mva:addresses", "<mva:addresses xmlns:mva='"+AddressesNamespace+"'", 1)
}

// parseWith parses a domain with such metadata.
func parseWith(t *testing.T, metadata string) *Domain {
	t.Helper()
	d, err := Parse(strings.NewReader("<domain><name>web</name><metadata>" + metadata + "</metadata></domain>"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// What is written is read the same, and is no choice of the domain's.
func TestAddressesAgain(t *testing.T) {
	until := time.Date(2026, 12, 30, 18, 0, 0, 0, time.UTC)
	mac := net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}
	want := &Addresses{NICs: []NICAddresses{
		{MAC: mac, Bound: []Bound{
			{netip.MustParseAddr("192.168.2.30"), "dhcp", until},
			{netip.MustParseAddr("192.168.2.31"), "by hand", time.Time{}},
			{netip.MustParseAddr("fe80::1"), "probe", until},
		}},
		{MAC: net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2}, Bound: []Bound{{netip.MustParseAddr("192.168.2.32"), "first", time.Time{}}}},
	}}
	d := parseWith(t, inNamespace(want.Element())+"<m:filter xmlns:m='"+Namespace+"' policy='dmz'/>")
	if diff := cmp.Diff(want, d.Addresses, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if d.Choice == nil || d.Choice.Err != nil || d.Choice.Policy != "dmz" {
		t.Errorf("the choice beside them is read as %+v", d.Choice)
	}
	if got := d.Addresses.Of(mac); len(got) != 3 {
		t.Errorf("of the first NIC: %v", got)
	}
	if (&Addresses{}).Element() != "" || (*Addresses)(nil).Element() != "" {
		t.Error("no addresses have an element")
	}
}

// Of what is wrong nothing is taken, and the domain stays what it is.
func TestAddressesWrong(t *testing.T) {
	nic := func(inner string) string {
		return "<addresses><nic mac='52:54:00:00:00:01'>" + inner + "</nic></addresses>"
	}
	const first = "<address known='first'>192.168.2.1</address>"
	var many, nics strings.Builder
	for i := range MaxAddresses + 1 {
		fmt.Fprintf(&many, "<address known='first'>192.168.2.%d</address>", i)
		fmt.Fprintf(&nics, "<nic mac='52:54:00:00:00:%02x'>%s</nic>", i, first)
	}
	for name, c := range map[string]struct{ element, want string }{
		"another element":   {"<addrs/>", "<addrs> is unknown"},
		"an attribute":      {"<addresses at='1'/>", `<addresses at="1"> is unknown`},
		"another child":     {"<addresses><n mac='52:54:00:00:00:01'/></addresses>", "want <nic>"},
		"no MAC address":    {"<addresses><nic>" + first + "</nic></addresses>", "no MAC address"},
		"a NIC twice":       {"<addresses><nic mac='52:54:00:00:00:01'>" + first + "</nic><nic mac='52:54:0:0:0:1'>" + first + "</nic></addresses>", "twice"},
		"an empty NIC":      {nic(""), "of 0 addresses"},
		"too many":          {nic(many.String()), "of 65 addresses"},
		"too many NICs":     {"<addresses>" + nics.String() + "</addresses>", "of 65 NICs"},
		"no address":        {nic("<address known='first'>web</address>"), `"web" is no address`},
		"a zone":            {nic("<address known='first'>fe80::1%eth0</address>"), "is no address"},
		"an address twice":  {nic(first + first), "twice"},
		"unknown how":       {nic("<address known='gossip'>192.168.2.1</address>"), "want dhcp, first"},
		"no time":           {nic("<address known='dhcp'>192.168.2.1</address>"), "until="},
		"a time too many":   {nic("<address known='first' until='2026-12-30T18:00:00Z'>192.168.2.1</address>"), "until="},
		"a time of its own": {nic("<address known='dhcp' until='tomorrow'>192.168.2.1</address>"), "want a time"},
	} {
		t.Run(name, func(t *testing.T) {
			element := inNamespace(c.element)
			if name == "another element" {
				element = "<mva:addrs xmlns:mva='" + AddressesNamespace + "'/>"
			}
			d := parseWith(t, element)
			if d.Addresses == nil || d.Addresses.Err == nil || !strings.Contains(d.Addresses.Err.Error(), c.want) || len(d.Addresses.NICs) > 0 {
				t.Errorf("got %+v, want an error with %q", d.Addresses, c.want)
			}
			if d.Choice != nil {
				t.Errorf("it is a choice: %+v", d.Choice)
			}
		})
	}
	two := parseWith(t, inNamespace(nic(first))+inNamespace(nic(first)))
	if two.Addresses.Err == nil {
		t.Error("two elements are taken")
	}
	for name, metadata := range map[string]string{"none": "", "somebody else's": "<addresses xmlns='urn:other'/>", "no namespace": "<addresses/>"} {
		if d := parseWith(t, metadata); d.Addresses != nil {
			t.Errorf("%s: %+v", name, d.Addresses)
		}
	}
}
