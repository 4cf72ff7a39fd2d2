package config

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

// commentedKey is a key of the reference that is commented out, as opposed to
// prose: no space follows the '#'.
var commentedKey = regexp.MustCompile(`(?m)^#([a-z\[])`)

// The reference is right as it stands, and says nothing but the defaults.
func TestReferenceIsTheDefaults(t *testing.T) {
	got := mustParse(t, Reference)
	want := mustParse(t, `parents = ["eth0"]`)
	if diff := cmp.Diff(want, got, exported); diff != "" {
		t.Errorf("the reference differs from the defaults (-defaults +reference):\n%s", diff)
	}
}

// With all that is commented out put in, the values are the defaults still.
func TestReferenceShowsTheDefaults(t *testing.T) {
	text := commentedKey.ReplaceAllString(Reference, "$1")
	got, want := mustParse(t, text), mustParse(t, `parents = ["eth0"]`)
	if got.KillOnReconnect != want.KillOnReconnect {
		t.Error("reconnect is not the default")
	}
	if got.Guard != want.Guard || got.OpenOthers != want.OpenOthers || !slices.Equal(got.GuardPrefixes, want.GuardPrefixes) {
		t.Error("guard, guard_prefixes or guard_others is not the default")
	}
	further := got.policies["web"]
	further.Name = DefaultPolicy
	if diff := cmp.Diff(want.Default(), further, exported); diff != "" {
		t.Errorf("the further policy differs from the defaults (-defaults +shown):\n%s", diff)
	}
	delete(got.policies, "web")
	if diff := cmp.Diff(want.policies, got.policies, exported); diff != "" {
		t.Errorf("the keys shown differ from the defaults (-defaults +shown):\n%s", diff)
	}
	asked := match{name: "web-*", uuid: "6695eb01-f6a4-8304-79aa-97f2502e193f", mac: "52:54:00:12:34:56", parent: "eth0", place: 1}
	if diff := cmp.Diff([]vm{{match: asked, policy: DefaultPolicy}}, got.vms, exported); diff != "" {
		t.Errorf("[[vm]]: (-want +got):\n%s", diff)
	}
	devices := []device{{match: match{name: "mac*", mac: "00:16:3e:12:34:56"}, policy: DefaultPolicy}}
	if diff := cmp.Diff(devices, got.devices, exported); diff != "" {
		t.Errorf("[[device]]: (-want +got):\n%s", diff)
	}
}

// Every key that a file may have is in the reference, in the order in which the
// contract has the sections, and no other.
func TestReferenceHasEveryKey(t *testing.T) {
	var tree map[string]any
	text := commentedKey.ReplaceAllString(Reference, "$1")
	if err := toml.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	keysOf("", tree, shown)
	known := map[string]bool{}
	keysOfType("", reflect.TypeFor[file](), known)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(known)), slices.Sorted(maps.Keys(shown))); diff != "" {
		t.Errorf("keys (-in the code +in the reference):\n%s", diff)
	}
	last := -1
	for _, section := range []string{"\nparents =", "\n#reconnect =", "\n[policy.default]", "\n#[policy.web]", "\n#[group.admins]", "\n#[[vm]]", "\n#[[device]]", "\n#[[test]]"} {
		at := strings.Index(Reference, section)
		if at <= last {
			t.Errorf("%q is missing or out of order", section)
		}
		last = at
	}
}

// make install replaces the one line that begins "parents =".
func TestReferenceHasOneLineOfParents(t *testing.T) {
	if n := len(regexp.MustCompile(`(?m)^parents = .*$`).FindAllString(Reference, -1)); n != 1 {
		t.Errorf("%d lines begin with \"parents =\", want 1", n)
	}
}

// keysOf collects the paths of a TOML tree, with NAME for a policy's or group's name.
func keysOf(at string, value any, out map[string]bool) {
	switch v := value.(type) {
	case map[string]any:
		for k, below := range v {
			if at == "policy" || at == "group" {
				k = "NAME"
			}
			out[join(at, k)] = true
			keysOf(join(at, k), below, out)
		}
	case []any:
		for _, below := range v {
			keysOf(at, below, out)
		}
	}
}

// keysOfType collects the paths that a file's Go types have.
func keysOfType(at string, t reflect.Type, out map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		keysOfType(at, t.Elem(), out)
	case reflect.Map:
		out[join(at, "NAME")] = true
		keysOfType(join(at, "NAME"), t.Elem(), out)
	case reflect.Struct:
		for key, field := range tomlKeys(t) {
			out[join(at, key)] = true
			keysOfType(join(at, key), field, out)
		}
	}
}
