#!/usr/bin/env bash
# To libvirt an entity is text at most. Where a domain says <memory>&amount;</memory>, the entity's text counts; where
# an entity holds elements (<vcpu>, a whole <interface>), "virsh define" accepts the document and makes the machine
# without them, in silence. libxml2 keeps such an entity as a reference in its tree, which XPath steps over; XPath's
# string() of an element around it, however, has the text of the entity's elements. A parser that puts entities in, as
# XML asks it to (Python's xml.etree here), sees all of the elements.
#
# Why it matters: a tool that checks domain XML before "virsh define" sees devices that the machine does not get, and
# another number of processors.
#
# Source: XML 1.0, section 4.4.2 (an entity in content is included); libvirt's src/util/virxml.c (virXMLParseHelper
# reads the document without libxml2's XML_PARSE_NOENT).
# Needs virsh with libvirt's test driver (Debian: libvirt-clients; no daemon, no privilege) and python3 (its standard
# library alone).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >domain.xml <<'XML'
<!DOCTYPE domain [
  <!ENTITY name "a<b>c</b>d">
  <!ENTITY amount "2048">
  <!ENTITY processors "<vcpu>3</vcpu>">
  <!ENTITY interface "<interface type='direct'><source dev='eth0' mode='bridge'/></interface>">
]>
<domain type='test'>
  <name>&name;</name><memory>&amount;</memory>&processors;<os><type>hvm</type></os>
  <devices>&interface;</devices>
</domain>
XML
cat >read.py <<'PY'
import sys
import xml.etree.ElementTree as ElementTree

domain = ElementTree.parse(sys.argv[1]).getroot()
print("name=%s memory=%s processors=%s interfaces=%d" % (
    "".join(domain.find("name").itertext()), domain.findtext("memory"), domain.findtext("vcpu"),
    len(domain.findall("devices/interface"))))
PY
# libvirt prints what it reads; its answer is read in the same way as the document.
timeout 60 virsh -q -c test:///default "define domain.xml; dumpxml acd" | sed -n '/^<domain/,$p' >libvirt.xml
document=$(timeout 60 python3 read.py domain.xml)
libvirt=$(timeout 60 python3 read.py libvirt.xml)
echo "libvirt $(virsh --version), $(python3 --version)"
echo "expected: what a parser reads in the document is what libvirt makes of it"
echo "seen:     xml.etree: $document"
echo "          libvirt:   $libvirt"
[ "$document" = "name=acd memory=2048 processors=3 interfaces=1" ]
[ "$libvirt" = "name=acd memory=2048 processors=1 interfaces=0" ]
