package domain

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse looks for domains that Parse reads as something that cannot be, or
// reads otherwise than at once.
func FuzzParse(f *testing.F) {
	stories, err := filepath.Glob("../../testdata/cases/*/domain.xml")
	if err != nil || len(stories) == 0 {
		f.Fatalf("no stories: %v", err)
	}
	for _, file := range stories {
		xml, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(xml)
	}
	f.Add([]byte(vm(direct + "<interface type='network'><source dev='a' mode='b'/></interface>")))
	f.Add([]byte("<!DOCTYPE d [<!ENTITY e 'x'>]><domain><name>&e;</name></domain>"))
	f.Add([]byte("<?xml version='1.1'?><!DOCTYPE d [<!ENTITY e '<b>x</b>'><!ATTLIST b c CDATA #FIXED 'x' d (e|f) \"e\">]><domain><name>&e;</name></domain>"))
	f.Fuzz(func(t *testing.T, xml []byte) {
		d, err := Parse(bytes.NewReader(xml))
		if err != nil {
			if d != nil {
				t.Error("a domain and an error")
			}
			return
		}
		if d.Name == "" {
			t.Error("no name")
		}
		if again, err := parseUUID(d.UUID); err != nil || again != d.UUID {
			t.Errorf("UUID %q", d.UUID)
		}
		devices := map[string]bool{}
		for _, i := range d.Direct {
			if i.Parent == "" {
				t.Errorf("%s without a parent", i)
			}
			if i.MAC != nil && len(i.MAC) != 6 {
				t.Errorf("%s with the MAC address %s", i, i.MAC)
			}
			if i.Target != "" && devices[i.Target] {
				t.Errorf("%s twice", i)
			}
			devices[i.Target] = true
		}
		if n := bytes.Count(xml, []byte("interface")); len(d.Direct) > n {
			t.Errorf("%d interfaces of %d", len(d.Direct), n)
		}
	})
}
