package domain

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestParseErrors(t *testing.T) {
	tests := []struct{ about, xml, want string }{
		{"empty", "", "domain XML: it has no <domain>"},
		{"blank", " \n", "domain XML: it has no <domain>"},
		{"only a comment", "<!-- -->", "it has no <domain>"},
		{"no XML", "hello", "it has no <domain>"},
		{"another root", "<network><name>a</name></network>", "the root is <network>, want <domain>"},
		{"all of another namespace", "<domain xmlns='urn:q'><name>a</name></domain>", "has no <name>"},
		{"two roots", vm("") + vm(direct), "2 roots"},
		{"text after the root", vm("") + "x", "text before or after"},
		{"text before the root", "x" + vm(""), "text before or after"},
		{"NUL", "<domain>\x00</domain>", "illegal character code U+0000"},
		{"NUL after the root", vm("") + "\x00", "illegal character code U+0000"},
		{"no UTF-8", "<domain><name>\xff</name></domain>", "invalid UTF-8"},
		{"entity that nobody declares", "<!DOCTYPE domain [<!ENTITY e 'web'>]><domain><name>&f;</name></domain>", "invalid character entity &f;"},
		{"entity that is not well-formed", "<!DOCTYPE domain [<!ENTITY e '<b>'>]><domain><name>&e;</name></domain>", "invalid character entity &e;"},
		{"entity with markup in a loop", "<!DOCTYPE domain [<!ENTITY e '<b>&f;</b>'><!ENTITY f '&e;'>]><domain><name>&e;</name></domain>", "invalid character entity &"},
		{"entity in a loop", "<!DOCTYPE domain [<!ENTITY e '&f;'><!ENTITY f '&e;'>]><domain><name>&e;</name></domain>", "invalid character entity &"},
		{"parameter entity", "<!DOCTYPE domain [<!ENTITY % p \"<!ENTITY e 'a'>\">%p;<!ENTITY e 'b'>]><domain><name>&e;</name></domain>", "line 1: <!DOCTYPE>: the parameter entity %p; is not supported: write what it stands for"},
		{"default attribute with an entity", "<!-- \n -->\n<!DOCTYPE domain [\n<!-- \n -->\n<!ATTLIST source dev CDATA '&nic;'>]>" + vm(direct), `line 6: <!DOCTYPE>: "<!ATTLIST source dev CDATA '&nic;'>]>" is not supported`},
		{"default attribute with a prefix", "<!DOCTYPE domain [<!ATTLIST source x:dev CDATA 'eth0'>]>" + vm(direct), "only attributes without a prefix are"},
		{"no declaration", "<!DOCTYPE domain x [<!ENTITY e 'a'>]>" + vm(direct), `"<!DOCTYPE domain x [`},
		{"version 2", "<?xml version='2.0'?>" + vm(direct), `unsupported version "2.0"`},
		{"entity of a file", "<!DOCTYPE domain [<!ENTITY e SYSTEM 'file:///etc/hostname'>]><domain><name>&e;</name></domain>", "invalid character entity &e;"},
		{"deep", "<domain>" + strings.Repeat("<a>", 1000), "nest deeper than 256"},
		{"deep and closed", "<domain>" + strings.Repeat("<a>", 256) + strings.Repeat("</a>", 256) + "</domain>", "nest deeper than 256"},
		{"crossed elements", "<domain><name>a</domain></name>", "do not match"},

		{"no name", "<domain><devices/></domain>", "domain XML: <domain> has no <name>"},
		{"empty name", "<domain><name/></domain>", "has no <name>"},
		{"bad UUID", "<domain><name>a\"b</name><uuid>1</uuid></domain>", `VM "a\"b": domain XML: "1" is no UUID`},
		{"UUID with letters", "<domain><name>a</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e193x</uuid></domain>", "is no UUID"},
		{"UUID with a hyphen within a byte", "<domain><name>a</name><uuid>6-695eb01f6a4830479aa97f2502e193f</uuid></domain>", "is no UUID"},
		{"UUID with a hyphen behind", "<domain><name>a</name><uuid>6695eb01f6a4830479aa97f2502e193f-</uuid></domain>", "is no UUID"},
		{"UUID too short", "<domain><name>a</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e19</uuid></domain>", "is no UUID"},
		{"UUID too long", "<domain><name>a</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e193f00</uuid></domain>", "is no UUID"},
		{"blank UUID", "<domain><name>a</name><uuid> </uuid></domain>", "is no UUID"},

		{"no source", vm("<interface type='direct'><target dev='macvtap0'/></interface>"), `VM "web": domain XML: interface "macvtap0": type='direct' without <source dev='…'>`},
		{"no source nor target", vm("<interface type='user'/><interface type='direct'/>"), "interface 2: type='direct' without <source dev='…'>"},
		{"source without dev", vm("<interface type='direct'><source mode='bridge'/></interface>"), "interface 1: type='direct' without <source dev"},
		{"bad MAC address", vm(strings.Replace(direct, "52:54", "52:5x", 1)), `interface "macvtap0": "52:5x:00:00:00:01" is no MAC address`},
		{"empty MAC address", vm(strings.Replace(direct, "52:54:00:00:00:01", "", 1)), `"" is no MAC address`},
		{"MAC address with hyphens", vm(strings.Replace(direct, "52:54:00:00:00:01", "52-54-00-00-00-01", 1)), `"52-54-00-00-00-01" is no MAC address`},
		{"MAC address with dots", vm(strings.Replace(direct, "52:54:00:00:00:01", "5254.0000.0001", 1)), `is no MAC address`},
		{"MAC address with a blank before", vm(strings.Replace(direct, "52:54", " 52:54", 1)), `is no MAC address`},
		{"MAC address with three digits", vm(strings.Replace(direct, "52:54", "052:54", 1)), `is no MAC address`},
		{"MAC address of a group", vm(strings.Replace(direct, "52:54", "01:54", 1)), `is a group's MAC address`},
		{"MAC address of 8 bytes", vm(strings.Replace(direct, "52:54", "00:00:52:54", 1)), "is no MAC address"},
	}
	for _, test := range tests {
		t.Run(test.about, func(t *testing.T) {
			_, err := Parse(strings.NewReader(test.xml))
			if err == nil {
				t.Fatalf("no error, want %q", test.want)
			}
			if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, want %q", err, test.want)
			}
			var typed *Error
			if !errors.As(err, &typed) {
				t.Errorf("error of type %T, want *Error", err)
			}
		})
	}
}

// No part of a domain is a domain.
func TestParseTruncated(t *testing.T) {
	xml := vm(direct)
	for n := range xml {
		if _, err := Parse(strings.NewReader(xml[:n])); err == nil {
			t.Errorf("accepted what ends in the middle: %s", xml[:n])
		}
	}
}

// forever repeats a text without end.
type forever struct {
	text string
	rest string
	read int
}

func (f *forever) Read(b []byte) (int, error) {
	if f.rest == "" {
		f.rest = f.text
	}
	n := copy(b, f.rest)
	f.rest = f.rest[n:]
	f.read += n
	return n, nil
}

// Parse reads no more than a little over MaxSize, whatever comes.
func TestParseNeverEnding(t *testing.T) {
	for begin, text := range map[string]string{
		"":                                "\x00",
		"\n":                              "x",
		"<domain>":                        "<a/>",
		"<domain ":                        "a='' ",
		"<domain><a ":                     "x",
		"<domain><name>":                  "&lt;",
		"<domain><!--":                    " x ",
		"<domain></domain>":               "\n",
		"<!DOCTYPE a [":                   "<!ENTITY a 'a'>",
		"<domain><name>a</name><devices>": direct,
	} {
		endless := &forever{text: text}
		_, err := Parse(io.MultiReader(strings.NewReader(begin), endless))
		if err == nil {
			t.Errorf("%s, and %s for ever: no error", begin, text)
		}
		if endless.read > MaxSize+1<<16 {
			t.Errorf("%s, and %s for ever: read %d bytes", begin, text, endless.read)
		}
	}
}

// A domain of the largest size is read, one byte more is not.
func TestParseMaxSize(t *testing.T) {
	xml := vm(direct)
	fill := func(size int) string { return xml + strings.Repeat(" ", size-len(xml)) }
	if _, err := Parse(strings.NewReader(fill(MaxSize))); err != nil {
		t.Errorf("%d bytes: %v", MaxSize, err)
	}
	if _, err := Parse(strings.NewReader(fill(MaxSize + 1))); err == nil || !strings.Contains(err.Error(), "larger than 4 MiB") {
		t.Errorf("%d bytes: %v, want \"larger than 4 MiB\"", MaxSize+1, err)
	}
}

func TestParseBrokenReader(t *testing.T) {
	broken := errors.New("broken pipe")
	r, w := io.Pipe()
	go func() {
		_, _ = io.WriteString(w, "<domain><name>a</name>")
		w.CloseWithError(broken)
	}()
	if _, err := Parse(r); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}
