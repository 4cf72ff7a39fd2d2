#!/usr/bin/env bash
# libvirt's XML may say things that are not in its elements: "virsh define" takes a document with an internal DTD, and
# an <!ATTLIST> there gives attributes their default values. <interface> without a type then is type='direct' (without
# the DTD it is type='user'), and every interface of the document without a mode is mode='bridge'. dumpxml writes
# them out as if they had been written. Go's encoding/xml, and what is built on it, skips the DTD.
#
# Why it matters: a tool that checks domain XML before "virsh define" sees another machine than libvirt makes.
#
# Source: XML 1.0, sections 3.3.2 and 5.1 (even a processor that does not validate must apply defaults of the internal
# subset).
# Needs virsh with libvirt's test driver (Debian: libvirt-clients; no daemon, no privilege) and go (its standard
# library alone).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >domain.xml <<'XML'
<!DOCTYPE domain [
  <!ATTLIST interface type CDATA 'direct'>
  <!ATTLIST source dev CDATA 'eth0' mode CDATA 'bridge'>
]>
<domain type='test'>
  <name>v</name><memory>1024</memory><os><type>hvm</type></os>
  <devices><interface><mac address='52:54:00:00:00:01'/><source/></interface></devices>
</domain>
XML
cat >main.go <<'GO'
package main

import (
	"encoding/xml"
	"fmt"
	"log"
	"os"
)

// main prints the first interface's type, device and mode as encoding/xml reads them.
func main() {
	content, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var domain struct {
		Interface struct {
			Type   string `xml:"type,attr"`
			Source struct {
				Dev  string `xml:"dev,attr"`
				Mode string `xml:"mode,attr"`
			} `xml:"source"`
		} `xml:"devices>interface"`
	}
	if err := xml.Unmarshal(content, &domain); err != nil {
		log.Fatal(err)
	}
	i := domain.Interface
	fmt.Printf("type=%q dev=%q mode=%q\n", i.Type, i.Source.Dev, i.Source.Mode)
}
GO
export GO111MODULE=off
# libvirt prints what it reads; its answer is read in the same way as the document.
timeout 60 virsh -q -c test:///default "define domain.xml; dumpxml v" | sed -n '/^<domain/,$p' >libvirt.xml
sed '/^<!DOCTYPE/,/^]>/d' domain.xml >bare.xml
timeout 60 virsh -q -c test:///default "define bare.xml; dumpxml v" | sed -n '/^<domain/,$p' >bare-libvirt.xml
echo "libvirt $(virsh --version), $(go version)"
document=$(timeout 120 go run main.go domain.xml)
libvirt=$(timeout 120 go run main.go libvirt.xml)
bare=$(timeout 120 go run main.go bare-libvirt.xml)
echo "expected: what a parser reads in the document is what libvirt makes of it"
echo "seen:     encoding/xml: $document"
echo "          libvirt:      $libvirt"
echo "          libvirt, the same document without the DTD: $bare"
[ "$document" = 'type="" dev="" mode=""' ]
[ "$libvirt" = 'type="direct" dev="eth0" mode="bridge"' ]
[ "$bare" = 'type="user" dev="" mode=""' ]
