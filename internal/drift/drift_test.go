package drift

import (
	"slices"
	"strings"
	"testing"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
)

const (
	web = "6695eb01-f6a4-8304-79aa-97f2502e193f"
	db  = "0d3f7c1e-5b2a-4c61-9e0f-1a2b3c4d5e6f"
)

// table is a small table of a VM's device.
func table(device, uuid, vm string) ruleset.Table {
	return ruleset.Table{
		Name: ruleset.TableName(device), Comment: filter.Owner{UUID: uuid, Name: vm}.Comment(),
		Interfaces: map[uint32]string{7: device},
		Chains: []ruleset.Chain{{
			Name: "from-vm", Hook: &ruleset.Hook{Type: ruleset.Egress, Device: device},
			Rules: []ruleset.Rule{
				{Matches: []ruleset.Match{ruleset.Compare{Field: ruleset.OutputIndex, Op: ruleset.NotEqual, Value: []byte{7, 0, 0, 0}}}, Verdict: ruleset.Drop, Comment: ruleset.StaleComment},
				{Matches: []ruleset.Match{ruleset.Is(ruleset.Protocol, ruleset.EtherTypeARP)}, Verdict: ruleset.Accept},
			},
		}},
	}
}

func running(name, uuid string, tables ...ruleset.Table) VM {
	vm := VM{Domain: &domain.Domain{Name: name, UUID: uuid}, Tables: tables}
	for n, t := range tables {
		device, _ := ruleset.TableDevice(t.Name)
		vm.Direct = append(vm.Direct, domain.Interface{Number: n + 2, Target: device})
	}
	return vm
}

func holding(tables ...ruleset.Table) []kernel.Held {
	var held []kernel.Held
	for n, t := range tables {
		held = append(held, kernel.Held{Standing: kernel.Standing{Name: t.Name, Comment: t.Comment, Handle: uint64(n + 1)}, Table: t})
	}
	return held
}

// with changes a copy of a table's one chain.
func with(t ruleset.Table, change func(*ruleset.Chain)) ruleset.Table {
	c := t.Chains[0]
	hook := *c.Hook
	c.Hook, c.Rules = &hook, slices.Clone(c.Rules)
	change(&c)
	t.Chains = []ruleset.Chain{c}
	return t
}

func TestFind(t *testing.T) {
	macvtap0, macvtap1 := table("macvtap0", web, "web"), table("macvtap1", web, "web")
	both := running("web", web, macvtap0, macvtap1)
	there := func(device string) bool { return device != "gone" }
	for _, test := range []struct {
		about string
		vms   []VM
		held  []kernel.Held
		want  []string // the findings' lines, and lines of their differences
	}{
		{"all is well", []VM{both}, holding(macvtap1, macvtap0), nil},
		{"nothing is there, and should be", nil, nil, nil},
		{"a table less", []VM{both}, holding(macvtap0), []string{
			`VM "web": interface 3, device "macvtap1": unprotected: no rules stand`,
		}},
		{"a rule more", []VM{both}, holding(macvtap0, with(macvtap1, func(c *ruleset.Chain) {
			c.Rules = append(c.Rules, ruleset.Rule{Verdict: ruleset.Accept})
		})), []string{
			`VM "web": interface 3, device "macvtap1": drifted: other rules stand than should`,
			"--- macvtap1 (should stand)", "+++ macvtap1 (stands)", "+\t\taccept",
		}},
		{"not bound to its device", []VM{both}, holding(macvtap0, with(macvtap1, func(c *ruleset.Chain) { c.Hook.Device = "macvtap0" })), []string{
			`VM "web": interface 3, device "macvtap1": drifted: other rules stand than should; not bound to the device: from-vm`,
			`+		type filter hook egress device "macvtap0" priority filter; policy drop;`,
		}},
		{"another VM's table", []VM{both}, holding(macvtap0, table("macvtap1", db, "db")), []string{
			"drifted", `-		meta oif != "macvtap1" drop comment "uuid=` + web + ` vm=web"`, `+		meta oif != "macvtap1" drop comment "uuid=` + db + ` vm=db"`,
		}},
		{"a device that is gone", nil, holding(table("gone", db, "db")), []string{
			`VM "db": device "gone": stale: there is no device "gone" any more`,
		}},
		{"a VM that is gone", []VM{both}, holding(macvtap0, macvtap1, table("macvtap7", db, "db")), []string{
			`VM "db": device "macvtap7": stale: the VM is not running`,
		}},
		{"an interface that is none of ours any more", []VM{running("web", web, macvtap0)}, holding(macvtap0, macvtap1), []string{
			`VM "web": device "macvtap1": stale: the VM has no such interface on a configured parent`,
		}},
		{"somebody's own", nil, holding(ruleset.Table{Name: "macvtap-filter-mine"}, ruleset.Table{Name: "macvtap-filter-gone", Comment: "mine"}), nil},
		{"the guard", nil, holding(ruleset.Table{Name: ruleset.GuardTable, Comment: "uuid=x vm=y"}), nil},
	} {
		var text string
		for _, f := range Find(test.vms, test.held, there) {
			text += f.String()
		}
		for _, line := range test.want {
			if !strings.Contains("\n"+text, line) {
				t.Errorf("%s: no %q in\n%s", test.about, line, text)
			}
		}
		if test.want == nil && text != "" {
			t.Errorf("%s: found\n%s", test.about, text)
		}
	}
}

func TestGuard(t *testing.T) {
	guard := filter.Guard([]string{"macvtap"})
	other := filter.Guard([]string{"web"})
	for _, test := range []struct {
		about string
		want  *ruleset.Table
		held  []kernel.Held
		line  string
	}{
		{"none, none wanted", nil, nil, ""},
		{"as wanted", &guard, holding(guard), ""},
		{"not wanted", nil, holding(guard), "the guard: stale: "},
		{"missing", &guard, nil, "the guard: unprotected: "},
		{"another", &guard, holding(other), "the guard: drifted: "},
	} {
		found := Guard(test.want, test.held)
		switch {
		case test.line == "" && len(found) > 0, test.line != "" && len(found) != 1:
			t.Errorf("%s: found %v", test.about, found)
		case test.line != "" && !strings.HasPrefix(found[0].String(), test.line):
			t.Errorf("%s: %s", test.about, found[0])
		case test.about == "another" && !strings.Contains(found[0].Diff, `devices = { "web*" }`):
			t.Errorf("%s: %s", test.about, found[0])
		}
	}
}

// What rules learned, and what of it somebody took out, is no finding.
func TestLearnedIsNoFinding(t *testing.T) {
	holds := func(macs ...byte) ruleset.Table {
		s := ruleset.Set{Name: "routers", Key: []ruleset.Type{ruleset.TypeEtherAddr}, Dynamic: 64}
		for _, m := range macs {
			mac := [][]byte{{2, 0, 0, 0, 0, m}}
			s.Elements = append(s.Elements, ruleset.Element{From: mac, To: mac})
		}
		made := table("macvtap0", web, "web")
		made.Sets = []ruleset.Set{s}
		return made
	}
	there := func(string) bool { return true }
	for _, stands := range []ruleset.Table{holds(1), holds(1, 2), holds(2), holds()} {
		if found := Find([]VM{running("web", web, holds(1))}, holding(stands), there); len(found) > 0 {
			t.Errorf("%v of\n%s", found, stands)
		}
	}
}
