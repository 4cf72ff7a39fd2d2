package domain

import (
	"fmt"
	"strings"
	"testing"
)

// usualXML is as long as what libvirt gives a hook for a usual VM.
func usualXML() string {
	var b strings.Builder
	b.WriteString("<domain type='kvm' id='7'>\n  <name>web</name>\n  <uuid>4b1d2f6a-6c1d-4c5e-9d3b-7a0f3f2e9c11</uuid>\n  <devices>\n")
	for i := range 20 {
		fmt.Fprintf(&b, `    <controller type='pci' index='%[1]d' model='pcie-root-port'>
      <model name='pcie-root-port'/>
      <target chassis='%[1]d' port='0x1%[1]x'/>
      <alias name='pci.%[1]d'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x%[1]x'/>
    </controller>
`, i)
	}
	b.WriteString(`    <interface type='direct'>
      <mac address='52:54:00:6a:10:01'/>
      <source dev='enp88s0' mode='bridge'/>
      <target dev='macvtap0'/>
      <model type='virtio'/>
      <alias name='net0'/>
    </interface>
  </devices>
</domain>
`)
	return b.String()
}

func BenchmarkParse(b *testing.B) {
	xml := usualXML()
	b.SetBytes(int64(len(xml)))
	for b.Loop() {
		d, err := Parse(strings.NewReader(xml))
		if err != nil || len(d.Direct) != 1 {
			b.Fatal(d, err)
		}
	}
}
