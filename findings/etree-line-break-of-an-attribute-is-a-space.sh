#!/usr/bin/env bash
# beevik/etree reads a line break or tab in an attribute (&#10;, &#9;) and writes it as the character itself. To XML that is
# a space: whoever reads the document next has one line in place of two, and no error. A carriage return in text (&#13;) is
# written so, too, and read as a line feed. For attributes nothing shows within Go: encoding/xml, below etree, leaves them as
# they stand, so that etree reads of its copy what was there. WriteSettings.CanonicalAttrVal and CanonicalText cure it.
#
# Why it matters: a program that changes one element of a domain's XML changes others: commands and messages of several lines
# in metadata, or arguments for QEMU. libvirt writes the references as they were.
#
# Source: XML 1.0, sections 2.11 (end-of-line handling) and 3.3.3 (attribute-value normalization); etree's helpers.go
# (escapeString), encoding/xml.
# Needs virsh with libvirt's test driver (Debian: libvirt-clients; no daemon, no privilege), python3 (its standard library), go
# and its module proxy.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >domain.xml <<'XML'
<domain type='test'>
  <name>v</name>
  <metadata><n:note xmlns:n='urn:example' run='first&#10;second'>one&#13;two</n:note></metadata>
  <memory>1024</memory><os><type>hvm</type></os>
</domain>
XML
cat >main.go <<'GO'
package main

import (
	"log"
	"os"

	"github.com/beevik/etree"
)

// main copies a document, in canonical form if a second argument says so.
func main() {
	document := etree.NewDocument()
	if err := document.ReadFromFile(os.Args[1]); err != nil {
		log.Fatal(err)
	}
	canonical := len(os.Args) > 2
	document.WriteSettings.CanonicalAttrVal, document.WriteSettings.CanonicalText = canonical, canonical
	if _, err := document.WriteTo(os.Stdout); err != nil {
		log.Fatal(err)
	}
}
GO
go mod init finding 2>/dev/null
timeout 120 go get github.com/beevik/etree@v1.8.1 2>/dev/null
echo "libvirt $(virsh --version), $(go list -m github.com/beevik/etree)"
timeout 120 go build -o copy .
./copy domain.xml >copied.xml
./copy copied.xml canonical >twice.xml # etree reads its own copy and writes what it has read
./copy domain.xml canonical >canonical.xml

# libvirt gives the note that libvirt has of a domain, attribute and text, with backslashes.
libvirt() {
  timeout 60 virsh -q -c test:///default "define $1; dumpxml v" | sed -n '/^<domain/,$p' | python3 -c '
import sys, xml.etree.ElementTree as tree
note = tree.fromstring(sys.stdin.buffer.read()).find("metadata/{urn:example}note")
print(repr(note.get("run")), repr(note.text))
'
}
original=$(libvirt domain.xml)
copied=$(libvirt copied.xml)
etree=$(libvirt twice.xml)
canonical=$(libvirt canonical.xml)
echo "expected: libvirt's note, of the document and of etree's copy: $original"
echo "seen:     of the copy: $copied; of the copy as etree reads it: $etree; of a canonical copy: $canonical"
[ "$original" = "'first\\nsecond' 'one\\rtwo'" ]
[ "$copied" = "'first second' 'one\\ntwo'" ]
[ "$etree" = "'first\\nsecond' 'one\\ntwo'" ]
[ "$canonical" = "$original" ]
