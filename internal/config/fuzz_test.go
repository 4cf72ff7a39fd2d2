package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParse looks for files that are neither right nor refused: every policy of an
// accepted one must be usable, and every refusal names the file in one line.
func FuzzParse(f *testing.F) {
	stories, err := filepath.Glob("../../testdata/cases/*/config.toml")
	if err != nil || len(stories) == 0 {
		f.Fatalf("no stories: %v", err)
	}
	for _, file := range stories {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(Reference))
	f.Add([]byte(contract))
	f.Add([]byte("parents = [\"a\"]\n[policy.x]\nextends = \"y\"\nallow = [\"@a tcp/ssh\", \"inherit\"]\n[policy.y]\nextends = \"x\"\n[group.a]\nmembers = [\"@a\", \"10.0.0.1\"]"))
	f.Add([]byte("parents = [\"a\",\n1]\nvm = [{name = \"a\"},\n{nam = 1}]\n[[policy]]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("f", text)
		if err != nil {
			if c != nil {
				t.Error("a configuration and an error")
			}
			if !strings.HasPrefix(err.Error(), "f:") || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q", err)
			}
			return
		}
		if len(c.Parents) == 0 {
			t.Error("no parents")
		}
		for _, v := range c.vms {
			checkUsable(t, c.Policy(NIC{VM: v.name, UUID: v.uuid}))
			if _, ok := c.policies[v.policy]; !ok {
				t.Errorf("nobody defines the policy %q", v.policy)
			}
		}
		for _, p := range c.policies {
			checkUsable(t, p)
		}
	})
}

func checkUsable(t *testing.T, p Policy) {
	t.Helper()
	if !validPolicyName(p.Name) {
		t.Errorf("policy %q", p.Name)
	}
	for _, e := range p.Deny {
		if len(e.Services) > 0 {
			t.Errorf("policy %q: deny %q has services", p.Name, e)
		}
	}
	for _, e := range append(append([]Entry(nil), p.Deny...), p.Allow...) {
		if e.Word == "" && !e.Range.IsValid() || e.Word != "" && e.Range.IsValid() {
			t.Errorf("policy %q: entry %q: word %q, range %s", p.Name, e, e.Word, e.Range)
		}
		for _, s := range e.Services {
			if s.Proto == 0 || s.From == 0 || s.From > s.To {
				t.Errorf("policy %q: entry %q: service %+v", p.Name, e, s)
			}
		}
		if again, err := ParseEntry(e.text); err != nil || again.Range != e.Range || again.Word != e.Word {
			t.Errorf("policy %q: entry %q is read as %+v (%v)", p.Name, e, again, err)
		}
	}
}
