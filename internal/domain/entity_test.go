package domain

import (
	"fmt"
	"strings"
	"testing"
)

// Entities of the document's own stand for what libvirt takes them for.
func TestParseEntities(t *testing.T) {
	tests := []struct{ about, subset, name, want string }{
		{"one", `<!ENTITY e 'web'>`, "&e;-1", "web-1"},
		{"double quotes", "\n <!ENTITY e\n\"web\" >\n", "&e;", "web"},
		{"of others", `<!ENTITY e '&f;b'><!ENTITY f "we">`, "&e;", "web"},
		{"of characters", `<!ENTITY e '&#x77;e&#98;'>`, "&e;", "web"},
		{"the first counts", `<!ENTITY e 'a'><!ENTITY e 'b'>`, "&e;", "a"},
		{"a predefined one cannot be another", `<!ENTITY quot 'x'>`, "&quot;", `"`},
		{"predefined within", `<!ENTITY e 'a&amp;b'>`, "&e;", "a&b"},
		{"a bracket by its number, when used", `<!ENTITY e 'a&#38;#60;b'>`, "&e;", "a<b"},
		{"in CDATA none", `<!ENTITY e 'a'>`, "<![CDATA[&e;]]>", "&e;"},
		{"in a comment none", `<!-- <!ENTITY e 'a'> --><!ENTITY e 'b'>`, "&e;", "b"},
		{"in an instruction none", `<?x <!ENTITY e 'a'> ?><!ENTITY e 'b'>`, "&e;", "b"},
		{"other declarations", `<!ELEMENT name (#PCDATA)><!NOTATION n SYSTEM '>'><!ENTITY f SYSTEM 'file:///etc/hostname'><!ENTITY % p 'x'><!ENTITY e 'b'>`, "&e;", "b"},
		{"unused ones may be wrong", `<!ENTITY f '&g;'><!ENTITY g '<b/>'><!ENTITY e 'b'>`, "&e;", "b"},
	}
	for _, test := range tests {
		d, err := Parse(strings.NewReader("<!DOCTYPE domain [" + test.subset + "]><domain><name>" + test.name + "</name></domain>"))
		if err != nil {
			t.Errorf("%s: %v", test.about, err)
		} else if d.Name != test.want {
			t.Errorf("%s: name %q, want %q", test.about, d.Name, test.want)
		}
	}
}

// In an attribute, too.
func TestParseEntityInAttribute(t *testing.T) {
	xml := strings.Replace(vm(direct), "'eth0'", "'&nic;'", 1)
	d, err := Parse(strings.NewReader("<!DOCTYPE domain [<!ENTITY nic 'eth0'>]>" + xml))
	if err != nil {
		t.Fatal(err)
	}
	if d.Direct[0].Parent != "eth0" {
		t.Errorf("on %q, want eth0", d.Direct[0].Parent)
	}
}

// Entities that grow without bound are given up.
func TestParseEntitiesThatGrow(t *testing.T) {
	var laughs strings.Builder
	for n := range 30 {
		fmt.Fprintf(&laughs, "<!ENTITY e%d '%s'>", n+1, strings.Repeat(fmt.Sprintf("&e%d;", n), 10))
	}
	for about, document := range map[string]string{
		"laughs":          "<!DOCTYPE domain [<!ENTITY e0 'ha'>" + laughs.String() + "]><domain><name>&e30;</name></domain>",
		"silent laughs":   "<!DOCTYPE domain [<!ENTITY e0 ''>" + laughs.String() + "]><domain><name>&e30;</name></domain>",
		"used many times": "<!DOCTYPE domain [<!ENTITY e '" + strings.Repeat("x", 1000) + "'>]><domain><name>" + strings.Repeat("&e;", 10000) + "</name></domain>",
		"markup":          "<!DOCTYPE domain [<!ENTITY e0 'ha'>" + strings.ReplaceAll(strings.ReplaceAll(laughs.String(), " '", " '<b>"), "'>", "</b>'>") + "]><domain><name>&e30;</name></domain>",
	} {
		if _, err := Parse(strings.NewReader(document)); err == nil || !strings.Contains(err.Error(), "entities make it larger") {
			t.Errorf("%s: %v", about, err)
		}
	}
}

// Attributes by default that grow without bound are given up: many of them for many elements.
func TestParseAttributesThatGrow(t *testing.T) {
	var declared strings.Builder
	for n := range 10000 {
		fmt.Fprintf(&declared, " a%d CDATA ''", n)
	}
	document := "<!DOCTYPE domain [<!ATTLIST x" + declared.String() + ">]><domain><name>a</name>" + strings.Repeat("<x/>", 10000) + "</domain>"
	if _, err := Parse(strings.NewReader(document)); err == nil || !strings.Contains(err.Error(), "default attributes make it larger") {
		t.Error(err)
	}
}
