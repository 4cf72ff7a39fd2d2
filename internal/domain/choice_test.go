package domain

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseChoice(t *testing.T) {
	const ours = "xmlns:m='urn:macvtap-filter:1'"
	for _, c := range []struct {
		name, metadata string
		want           *Choice
		err            string // part of it
	}{
		{"none", "", nil, ""},
		{"somebody else's", "<app:filter xmlns:app='urn:other' policy='x'/>", nil, ""},
		{"no namespace", "<filter policy='x'/>", nil, ""},
		{"a policy", "<m:filter " + ours + " policy='dmz'/>", &Choice{Policy: "dmz"}, ""},
		{"a default namespace", "<filter xmlns='urn:macvtap-filter:1' policy='dmz'><allow> 192.168.2.9 tcp/80\n</allow></filter>", &Choice{Policy: "dmz", Allow: []string{"192.168.2.9 tcp/80"}}, ""},
		{"entries", "<m:filter " + ours + "><m:allow>192.168.2.9</m:allow><m:allow>fe80::9</m:allow></m:filter>", &Choice{Allow: []string{"192.168.2.9", "fe80::9"}}, ""},
		{"within somebody else's", "<a:x xmlns:a='urn:other'><m:filter " + ours + " policy='dmz'/></a:x>", nil, ""},
		{"two", "<m:filter " + ours + "/><m:filter " + ours + "/>", nil, "two elements"},
		{"another element", "<m:policy " + ours + "/>", nil, "<policy> is unknown"},
		{"another attribute", "<m:filter " + ours + " polcy='dmz'/>", nil, `polcy="dmz"`},
		{"an empty policy", "<m:filter " + ours + " policy=''/>", nil, `policy=""`},
		{"another child", "<m:filter " + ours + "><m:deny>192.168.2.9</m:deny></m:filter>", nil, "<m:deny> in <filter>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := Parse(strings.NewReader("<domain><name>web</name><metadata>" + c.metadata + "</metadata></domain>"))
			if err != nil {
				t.Fatal(err)
			}
			if c.err != "" {
				if d.Choice == nil || d.Choice.Err == nil || !strings.Contains(d.Choice.Err.Error(), c.err) {
					t.Errorf("got %+v, want an error with %q", d.Choice, c.err)
				}
				return
			}
			if diff := cmp.Diff(c.want, d.Choice, cmpopts.EquateErrors()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
