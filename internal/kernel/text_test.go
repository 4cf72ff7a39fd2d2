package kernel_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/ruleset"
)

// manyDevices makes macvtap0 and further ones, and gives their names.
func manyDevices(t *testing.T, ns *lab.Namespace, n int) []string {
	t.Helper()
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("macvtap%d", i)
	}
	addDevices(t, ns, names...)
	return names
}

// addDevices makes devices for chains to bind to: not bridges, each of which the kernel takes
// a grace period of RCU to remove, and no device of the machine changes meanwhile.
func addDevices(t testing.TB, ns *lab.Namespace, names ...string) {
	t.Helper()
	carrier, err := ns.Links().LinkByName("carrier")
	if err != nil {
		carrier = &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "carrier"}}
		if err := ns.Links().LinkAdd(carrier); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		attrs := netlink.LinkAttrs{Name: name, ParentIndex: carrier.Attrs().Index}
		if err := ns.Links().LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}); err != nil {
			t.Fatalf("device %q: %v", name, err)
		}
	}
}

func devices(made []ruleset.Table) []string {
	var names []string
	for _, table := range made {
		for _, c := range table.Chains {
			if c.Hook != nil && c.Hook.Type == ruleset.Ingress {
				names = append(names, c.Hook.Device)
			}
		}
	}
	return names
}

var jsonLosesComments = regexp.MustCompile(`(?m)^\tcomment ".*"\n`)

// sameThreeWays programs tables over netlink, loads their text with nft, and
// loads their JSON, each in a namespace of its own, and compares what nft lists
// there.
func sameThreeWays(t *testing.T, made []ruleset.Table) {
	t.Helper()
	sameWays(t, made, func(ns *lab.Namespace) { create(t, ns, made) })
}

func sameWays(t *testing.T, made []ruleset.Table, program func(*lab.Namespace)) {
	t.Helper()
	fresh := func() *lab.Namespace {
		ns := namespace(t)
		addDevices(t, ns, devices(made)...)
		return ns
	}
	programmed := fresh()
	program(programmed)
	want := listing(t, programmed)

	loaded := fresh()
	nft(t, loaded, ruleset.Text(made), "-f", "-")
	if diff := cmp.Diff(want, listing(t, loaded)); diff != "" {
		t.Errorf("the text differs from what is programmed (-netlink +text):\n%s", diff)
	}
	json, err := ruleset.JSON(made)
	if err != nil {
		t.Fatal(err)
	}
	fromJSON := fresh()
	nft(t, fromJSON, string(json), "--json", "-f", "-")
	// nft 1.0 reads no table comments in JSON.
	without := jsonLosesComments.ReplaceAllString(want, "")
	if diff := cmp.Diff(lab.Inline(without), jsonLosesComments.ReplaceAllString(listing(t, fromJSON), "")); diff != "" {
		t.Errorf("the JSON differs from what is programmed (-netlink +json):\n%s", diff)
	}
	again := fresh()
	nft(t, again, want, "-f", "-")
	if diff := cmp.Diff(want, listing(t, again)); diff != "" {
		t.Errorf("what nft lists does not load the same (-listed +loaded):\n%s", diff)
	}
}

// TestTextIsWhatIsProgrammed holds the printed ruleset of every story against the
// programmed one.
func TestTextIsWhatIsProgrammed(t *testing.T) {
	for name, made := range stories(t) {
		t.Run(name, func(t *testing.T) { sameThreeWays(t, made) })
	}
}

// TestEveryMatch does the same for a table with every kind of match.
func TestEveryMatch(t *testing.T) {
	made := everyMatch()
	sameWays(t, []ruleset.Table{made}, func(ns *lab.Namespace) { createPlain(t, ns, made) })
}

func TestReplaceIsTheSameByteForByte(t *testing.T) {
	for name, made := range stories(t) {
		t.Run(name, func(t *testing.T) {
			ns := namespace(t)
			addDevices(t, ns, devices(made)...)
			create(t, ns, made)
			first := listing(t, ns)
			for range 2 {
				err := within(t, ns, func(ctx context.Context) error {
					return kernel.Replace(ctx, made, func(kernel.Standing) bool { return true })
				})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(first, listing(t, ns)); diff != "" {
					t.Fatalf("re-applied (-first +again):\n%s", diff)
				}
			}
		})
	}
}

// stories are the tables of the golden cases.
func stories(t *testing.T) map[string][]ruleset.Table {
	t.Helper()
	folders, err := filepath.Glob("../../testdata/cases/*")
	if err != nil || len(folders) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	out := map[string][]ruleset.Table{}
	for _, folder := range folders {
		if _, err := os.Stat(filepath.Join(folder, "rules.nft")); err != nil {
			continue // a story of an error
		}
		out[filepath.Base(folder)] = story(t, folder)
	}
	return out
}
