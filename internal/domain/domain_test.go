package domain

import (
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// vm puts devices into a domain XML.
func vm(devices string) string {
	return "<domain type='kvm'><name>web</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid><devices>" + devices + "</devices></domain>"
}

const direct = "<interface type='direct'><mac address='52:54:00:00:00:01'/><source dev='eth0' mode='bridge'/><target dev='macvtap0'/></interface>"

var parsed = Interface{Number: 1, Target: "macvtap0", Parent: "eth0", MAC: net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}}

func TestParseInterfaces(t *testing.T) {
	tests := []struct {
		about, devices string
		want           []Interface
	}{
		{"one", direct, []Interface{parsed}},
		{"none", "<disk type='file'/>", nil},
		{"only other kinds", "<interface type='bridge'><source bridge='br0'/><target dev='vnet0'/></interface><interface type='user'/>", nil},
		{"numbered among all", "<interface type='user'/>" + direct, []Interface{{Number: 2, Target: "macvtap0", Parent: "eth0", MAC: parsed.MAC}}},
		{"in two lists of devices", "</devices><devices>" + direct, []Interface{parsed}},
		{"shut off", "<interface type='direct'><source dev='eth0'/></interface>", []Interface{{Number: 1, Parent: "eth0"}}},
		{"two shut off", strings.Repeat("<interface type='direct'><source dev='eth0'/></interface>", 2),
			[]Interface{{Number: 1, Parent: "eth0"}, {Number: 2, Parent: "eth0"}}},
		{"network of macvtap kind", "<interface type='network'><source network='lan' dev='eth0' mode='bridge'/><target dev='macvtap0'/></interface>",
			[]Interface{{Number: 1, Target: "macvtap0", Parent: "eth0"}}},
		{"network of bridge kind", "<interface type='network'><source network='default' bridge='virbr0'/><target dev='vnet0'/></interface>", nil},
		{"network that names a device without a mode", "<interface type='network'><source network='lan' dev='eth0'/></interface>", []Interface{{Number: 1, Parent: "eth0"}}},
		{"network, shut off", "<interface type='network'><source network='lan'/></interface>", nil},
		{"guest may change the MAC address", strings.Replace(direct, "'direct'", "'direct' trustGuestRxFilters='yes'", 1),
			[]Interface{{Number: 1, Target: "macvtap0", Parent: "eth0", MAC: parsed.MAC, TrustGuest: true}}},
		{"guest may not", strings.Replace(direct, "'direct'", "'direct' trustGuestRxFilters='no'", 1), []Interface{parsed}},
		{"interface of another namespace", "<q:interface xmlns:q='urn:q' type='direct'><source dev='eth0'/></q:interface>", nil},
		{"source of another namespace besides", strings.Replace(direct, "<mac", "<q:source xmlns:q='urn:q' dev='eth9'/><mac", 1), []Interface{parsed}},
		{"attribute of another namespace, which libvirt takes for its own", strings.Replace(direct, "<source", "<source q:dev='eth9' xmlns:q='urn:q'", 1),
			[]Interface{{Number: 1, Target: "macvtap0", Parent: "eth9", MAC: parsed.MAC}}},
		{"devices of another default namespace", "</devices><devices xmlns='urn:q'>" + direct, nil},
		{"the first of two sources", strings.Replace(direct, "<target", "<source dev='eth1'/><target", 1), []Interface{parsed}},
		{"the first of two targets", strings.Replace(direct, "</interface>", "<target dev='a'/></interface>", 1), []Interface{parsed}},
		{"the first of two MAC addresses", strings.Replace(direct, "<source", "<mac address='52:54:00:00:00:02'/><source", 1), []Interface{parsed}},
		{"MAC address of one-digit bytes", strings.Replace(direct, "52:54:00:00:00:01", "52:54:0:0:0:1", 1), []Interface{parsed}},
		{"MAC address with a blank behind", strings.Replace(direct, "52:54:00:00:00:01", "52:54:00:00:00:01 x", 1), []Interface{parsed}},
		{"MAC address in capitals", strings.Replace(direct, "52:54:00:00:00:01", "52:54:00:AA:0B:c", 1),
			[]Interface{{Number: 1, Target: "macvtap0", Parent: "eth0", MAC: net.HardwareAddr{0x52, 0x54, 0, 0xaa, 0x0b, 0x0c}}}},
		{"another MAC address that the guest asked for", strings.Replace(direct, "00:01'", "00:01' currentAddress='52:54:00:00:00:09'", 1), []Interface{parsed}},
		{"MAC address that libvirt is to choose", strings.Replace(direct, " address='52:54:00:00:00:01'", "", 1), []Interface{{Number: 1, Target: "macvtap0", Parent: "eth0"}}},
		{"one device twice", direct + direct, []Interface{parsed, {Number: 2, Target: "macvtap0", Parent: "eth0", MAC: parsed.MAC}}},
		{"in a comment", "<!--" + direct + "-->", nil},
		{"in CDATA", "<![CDATA[" + direct + "]]>", nil},
		{"too deep", "<controller>" + direct + "</controller>", nil},
		{"entities in values", strings.Replace(direct, "'eth0'", "'&#101;th&apos;&lt;'", 1), []Interface{{Number: 1, Target: "macvtap0", Parent: "eth'<", MAC: parsed.MAC}}},
	}
	for _, test := range tests {
		t.Run(test.about, func(t *testing.T) {
			d, err := Parse(strings.NewReader(vm(test.devices)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, d.Direct); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// What <metadata> holds is somebody else's, whatever it looks like.
func TestParseIgnoresMetadata(t *testing.T) {
	decoys := []string{
		direct,
		"<devices>" + direct + "</devices>",
		"<domain><name>other</name><devices>" + direct + "</devices></domain>",
		"<x xmlns='urn:x'><devices>" + direct + "</devices></x>",
	}
	for _, decoy := range decoys {
		xml := strings.Replace(vm(""), "<name>", "<metadata>"+decoy+"<name>decoy</name><uuid>decoy</uuid></metadata><name>", 1)
		d, err := Parse(strings.NewReader(xml))
		if err != nil {
			t.Errorf("%s: %v", xml, err)
			continue
		}
		if len(d.Direct) != 0 || d.Name != "web" || d.UUID[:8] != "6695eb01" {
			t.Errorf("%s:\nread %+v out of <metadata>", xml, d)
		}
	}
}

func TestParseNames(t *testing.T) {
	tests := []struct{ about, xml, want string }{
		{"quotes", `a&quot;b'c`, `a"b'c`},
		{"newline", "a\nb&#10;c", "a\nb\nc"},
		{"255 bytes", strings.Repeat("x", 255), strings.Repeat("x", 255)},
		{"many scripts", "Größe-網頁-сеть-🖧", "Größe-網頁-сеть-🖧"},
		{"blanks around", " a ", " a "},
		{"CDATA", "<![CDATA[<a>&]]>", "<a>&"},
		{"comment", "a<!-- x -->b", "ab"},
		{"element", "a<b>x</b>c", "axc"},
		{"processing instruction", "a<?b x?>c", "ac"},
		{"two of them", "a</name><name>b", "a"},
		{"shell and nft syntax", "$(x);}`\\*", "$(x);}`\\*"},
	}
	for _, test := range tests {
		d, err := Parse(strings.NewReader("<domain><name>" + test.xml + "</name></domain>"))
		if err != nil {
			t.Errorf("%s: %v", test.about, err)
		} else if d.Name != test.want {
			t.Errorf("%s: name %q, want %q", test.about, d.Name, test.want)
		}
	}
}

func TestParseUUID(t *testing.T) {
	for xml, want := range map[string]string{
		"": "",
		"<uuid>6695EB01-F6A4-8304-79AA-97F2502E193F</uuid>":                       "6695eb01-f6a4-8304-79aa-97f2502e193f",
		"<uuid>6695EB01F6A4830479AA97F2502E193F</uuid>":                           "6695eb01-f6a4-8304-79aa-97f2502e193f",
		"<uuid>\n  6695eb01-f6a4-8304-79aa-97f2502e193f\n</uuid>":                 "6695eb01-f6a4-8304-79aa-97f2502e193f",
		"<uuid>6695eb01f6a4-8304-79aa97f2-502e193f</uuid>":                        "6695eb01-f6a4-8304-79aa-97f2502e193f",
		"<uuid>-6695 eb01--f6a4830479aa 97f2502e193f</uuid>":                      "6695eb01-f6a4-8304-79aa-97f2502e193f",
		"<uuid>6695eb01-f6a4-<!-- -->8304-79aa-97f2502e193f</uuid><uuid>x</uuid>": "6695eb01-f6a4-8304-79aa-97f2502e193f",
	} {
		d, err := Parse(strings.NewReader("<domain><name>a</name>" + xml + "</domain>"))
		if err != nil {
			t.Errorf("%q: %v", xml, err)
		} else if d.UUID != want {
			t.Errorf("%q: UUID %q, want %q", xml, d.UUID, want)
		}
	}
}

// Around the root stand what XML allows there.
func TestParseProlog(t *testing.T) {
	for _, begin := range []string{"", "\ufeff", "<?xml version='1.0' encoding='UTF-8'?>\n", "<!-- Made by virt-install -->\n\n", "<!DOCTYPE domain>"} {
		if _, err := Parse(strings.NewReader(begin + vm(direct) + "\n<!-- end -->\n")); err != nil {
			t.Errorf("after %q: %v", begin, err)
		}
	}
}

func TestFreeTargets(t *testing.T) {
	d := &Domain{Direct: []Interface{{Target: "macvtap1"}, {}, {Target: "eth0"}, {Target: "macvtap2"}, {}}}
	free := d.freeTargets()
	got := []string{free(), free(), free()}
	if diff := cmp.Diff([]string{"macvtap0", "macvtap3", "macvtap4"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestInterfaceString(t *testing.T) {
	if got := (Interface{Number: 2, Target: "a\"b"}).String(); got != `interface "a\"b"` {
		t.Errorf("%s", got)
	}
	if got := (Interface{Number: 2}).String(); got != "interface 2" {
		t.Errorf("%s", got)
	}
}

// A disk may have as many snapshots as libvirt takes: it writes each one's image
// into the one before.
func TestParseSnapshots(t *testing.T) {
	const layers = 200
	disk := "<disk type='file'>" + strings.Repeat("<backingStore type='file'><source file='/a'><encryption><secret/></encryption></source>", layers) +
		strings.Repeat("</backingStore>", layers) + "</disk>"
	d, err := Parse(strings.NewReader(vm(disk + direct)))
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Direct) != 1 {
		t.Errorf("%d direct interfaces, want one", len(d.Direct))
	}
}
