package domain

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What libvirt 9.0 makes of the XML in testdata/xml, all of which "virsh define" takes (test:///default reads it as any driver does):
// name, last digits of the UUID, and of each direct interface MAC address, NIC and device.
var takenByLibvirt = map[string]string{
	"attribute-by-default":                  "odd 00ff, 52:54:00:3a:00:16 eth5",
	"attribute-by-default-and-given":        "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"attribute-by-default-of-the-interface": "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"attribute-declared-twice":              "odd 00ff, 52:54:00:3a:00:16 eth5",
	"attribute-fixed":                       "odd 00ff, 52:54:00:3a:00:16 eth5",
	"attribute-of-another-namespace":        "odd 00ff, 52:54:00:3a:00:16 eth9",
	"attribute-of-several-values":           "odd 00ff, 52:54:00:3a:00:16 eth5",
	"attribute-of-tokens":                   "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"attribute-that-is-a-namespace":         "odd 00ff",
	"attribute-with-a-number":               "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"byte-order-mark":                       "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"devices-of-another-namespace":          "odd 00ff",
	"doctype-comment":                       "odd 00ff, 52:54:00:3a:00:16 d1",
	"doctype-public":                        "web 00ff, 52:54:00:3a:00:16 enp88s0",
	"doctype-system":                        "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"doctype-with-a-bracket":                "web 00ff, 52:54:00:3a:00:16 enp88s0",
	"doctype-with-an-instruction":           "odd 00ff, 52:54:00:3a:00:16 d1",
	"entity":                                "odd-19 0019, 52:54:00:3a:00:11 enp88s0",
	"entity-charref":                        "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"entity-declared-twice":                 "odd 00ff, 52:54:00:3a:00:16 a1",
	"entity-in-the-name":                    "web-1 00ff, 52:54:00:3a:00:16 enp88s0",
	"entity-nested":                         "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"entity-not-well-formed-unused":         "a1 00ff, 52:54:00:3a:00:16 enp88s0",
	"entity-of-a-bracket":                   "a<b-1 00ff, 52:54:00:3a:00:16 enp88s0",
	"entity-of-a-file-unused":               "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"entity-with-a-comment":                 "aa c b1 00ff, 52:54:00:3a:00:16 enp88s0",
	"entity-with-a-source":                  "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"entity-with-an-interface":              "odd 00ff, 52:54:00:3a:00:17 enp88s0",
	"entity-with-cdata":                     "ax<y1 00ff, 52:54:00:3a:00:16 enp88s0",
	"entity-with-markup-in-the-name":        "aweb-1 00ff, 52:54:00:3a:00:16 enp88s0",
	"entity-with-markup-nested":             "aweb1 00ff, 52:54:00:3a:00:16 enp88s0",
	"ethernet-that-is-not-managed":          "odd 00ff",
	"interface-of-another-namespace":        "odd 00ff",
	"mac-in-capitals":                       "odd 00ff, 52:54:00:aa:bb:21 enp88s0",
	"mac-one-digit":                         "odd-23 0023, 52:54:00:3a:00:21 enp88s0",
	"mac-that-the-guest-asked-for":          "odd 00ff, 52:54:00:aa:bb:21 enp88s0",
	"mac-with-a-blank-behind":               "odd 00ff, 52:54:00:aa:bb:21 enp88s0",
	"mac-with-a-newline-behind":             "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"mac-without-address":                   "odd 00ff,  enp88s0", // it chooses one
	"name-blanks":                           " web 1  00ff, 52:54:00:3a:00:16 enp88s0",
	"name-child":                            "web-x-1 00ff, 52:54:00:3a:00:16 enp88s0",
	"name-comment":                          "web-1 00ff, 52:54:00:3a:00:16 enp88s0",
	"name-in-part-cdata":                    "web-1 00ff, 52:54:00:3a:00:16 enp88s0",
	"name-with-an-instruction":              "web 00ff, 52:54:00:3a:00:16 enp88s0",
	"root-with-a-prefix":                    "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"same-own-target-twice":                 "odd 00ff, 52:54:00:3a:00:16 enp88s0 foo0, 52:54:00:3a:00:17 enp88s0 foo0",
	"same-target-twice":                     "odd-24 0024, 52:54:00:3a:00:16 enp88s0 macvtap0, 52:54:00:3a:00:17 enp88s0 macvtap0",
	"target-without-dev":                    "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"two-lists-of-devices":                  "odd 00ff, 52:54:00:3a:00:16 enp88s0, 52:54:00:3a:00:17 enp88s0",
	"two-macs":                              "odd 00ff, 52:54:00:aa:bb:21 enp88s0",
	"two-names":                             "first 00ff, 52:54:00:3a:00:16 enp88s0",
	"two-sources":                           "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"two-targets":                           "odd 00ff, 52:54:00:3a:00:16 enp88s0 foo0",
	"two-uuids":                             "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"undeclared-prefix":                     "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"uuid-blanks":                           "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"uuid-comment":                          "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"uuid-in-capitals":                      "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"uuid-with-a-blank-within":              "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"uuid-with-many-hyphens":                "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"uuid-without-hyphens":                  "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"version-1.1":                           "odd 00ff, 52:54:00:3a:00:16 enp88s0",
	"version-1.1-byte-order-mark":           "odd 00ff, 52:54:00:3a:00:16 enp88s0",
}

func TestParseAsLibvirt(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "xml", "*.xml"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, file := range files {
		got[strings.TrimSuffix(filepath.Base(file), ".xml")] = summary(t, file)
	}
	if diff := cmp.Diff(takenByLibvirt, got); diff != "" {
		t.Errorf("-libvirt +read:\n%s", diff)
	}
}

func summary(t *testing.T, file string) string {
	t.Helper()
	xml, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer xml.Close()
	d, err := Parse(xml)
	if err != nil {
		return err.Error()
	}
	out := fmt.Sprintf("%s %s", d.Name, d.UUID[len(d.UUID)-4:])
	for _, i := range d.Direct {
		out += strings.TrimRight(fmt.Sprintf(", %s %s %s", i.MAC, i.Parent, i.Target), " ")
	}
	return out
}
