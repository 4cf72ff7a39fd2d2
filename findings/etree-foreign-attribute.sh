#!/usr/bin/env bash
# beevik/etree: an accessor without a prefix takes any prefix. For <i x:dev="a" dev="b"/> the path /d/i[@dev='b'] finds
# the element, and SelectAttrValue("dev") of that very element says "a"; turned round in the document it says "b".
# SelectElement("i") likewise takes <x:i>. In XML an attribute without a prefix is in no namespace, whatever stands
# beside it.
#
# Why it matters: formats that let others add elements and attributes of their own namespace (libvirt's metadata,
# Atom, SVG) are read wrongly, by order of attributes, after a filter that looked right.
#
# Source: Namespaces in XML 1.0, section 6.2 (default namespaces do not apply to attribute names); etree's spaceMatch.
# Needs go and its module proxy.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"encoding/xml"
	"fmt"
	"log"
	"os"

	"github.com/beevik/etree"
)

// value gives what the accessor says of the element that the path found by dev='b'.
func value(document string) string {
	tree := etree.NewDocument()
	if err := tree.ReadFromString(document); err != nil {
		log.Fatal(err)
	}
	found := tree.FindElement("/d/i[@dev='b']")
	if found == nil {
		return "no element"
	}
	return found.SelectAttrValue("dev", "no attribute")
}

// element gives dev of the element that the accessor takes for <i>.
func element(document string) string {
	tree := etree.NewDocument()
	if err := tree.ReadFromString(document); err != nil {
		log.Fatal(err)
	}
	found := tree.Root().SelectElement("i")
	if found == nil {
		return "no element"
	}
	return found.FullTag() + " " + found.SelectAttrValue("dev", "no attribute")
}

func main() {
	foreignFirst := `<d xmlns:x="urn:x"><i x:dev="a" dev="b"/></d>`
	foreignLast := `<d xmlns:x="urn:x"><i dev="b" x:dev="a"/></d>`
	decoy := `<d xmlns:x="urn:x"><x:i dev="a"/><i dev="b"/></d>`

	var standard struct {
		I struct {
			Dev string `xml:"dev,attr"`
		} `xml:"i"`
	}
	if err := xml.Unmarshal([]byte(foreignFirst), &standard); err != nil {
		log.Fatal(err)
	}
	first, last, taken := value(foreignFirst), value(foreignLast), element(decoy)
	fmt.Println(`expected: dev is "b" three times, and <i> is "i b"`)
	fmt.Printf("seen:     x:dev first: %q; x:dev last: %q; <x:i> before <i>: %q\n", first, last, taken)
	fmt.Printf("(encoding/xml, x:dev first: %q)\n", standard.I.Dev)
	if first != "a" || last != "b" || taken != "x:i a" {
		os.Exit(1)
	}
}
GO
go mod init finding 2>/dev/null
timeout 120 go get github.com/beevik/etree@v1.8.1
go list -m github.com/beevik/etree
timeout 120 go run .
