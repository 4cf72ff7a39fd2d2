package hook

import (
	"slices"
	"strings"
	"testing"
)

func isCommand(name string) bool {
	return slices.Contains([]string{"apply", "remove", "render", "check"}, name)
}

const program = "/etc/libvirt/hooks/qemu.d/macvtap-filter"

// TestNetworkActions has the hook of networks do one thing, and nothing of what is a VM's there.
func TestNetworkActions(t *testing.T) {
	for _, operation := range append(qemuOperations, "port-created", "port-deleted", "updated", "plugged", "render", Followed) {
		for _, sub := range []string{"begin", "end"} {
			for program, network := range map[string]bool{
				"/etc/libvirt/hooks/network.d/macvtap-filter": true, "/etc/libvirt/hooks/network": true,
				program: false, "/etc/libvirt/hooks/qemu": false, "macvtap-filter": false, "/usr/sbin/macvtap-filter": false,
			} {
				call, ok := Parse(program, []string{"pool", operation, sub, "-"}, isCommand)
				if !ok || call.Network != network {
					t.Errorf("%s pool %s %s: %+v, a call %t, want one of a network: %t", program, operation, sub, call, ok, network)
				}
				want := map[string]Action{"port-created": Plug, Followed: Follow}[operation]
				if sub != "begin" {
					want = None
				}
				got := call.Action()
				if ours := got == Plug || got == Follow; network && got != want || !network && ours {
					t.Errorf("%s pool %s %s: action %d", program, operation, sub, got)
				}
			}
		}
	}
}

// qemuOperations are libvirt 9's (src/util/virhook.c), each with both suboperations.
var qemuOperations = []string{"start", "stopped", "prepare", "release", "migrate", "started", "reconnect", "attach", "restore"}

func TestActions(t *testing.T) {
	acts := map[string]Action{
		"start begin": Protect, "reconnect begin": Reprotect,
		"stopped end": Release, "release end": Release, "migrate begin": Expect, "restore begin": Expect,
		"started begin": Resume,
	}
	for _, operation := range append(qemuOperations, "thaw", "", "Start", "begin") {
		for _, sub := range []string{"begin", "end"} {
			call, ok := Parse(program, []string{"web", operation, sub, "-"}, isCommand)
			if !ok {
				t.Errorf("%s %s is no hook call", operation, sub)
			}
			if want := (Call{Domain: "web", Operation: operation, Suboperation: sub, Extra: "-"}); call != want {
				t.Errorf("call %+v, want %+v", call, want)
			}
			if got, want := call.Action(), acts[operation+" "+sub]; got != want {
				t.Errorf("%s %s: action %d, want %d", operation, sub, got, want)
			}
		}
	}
}

func TestParse(t *testing.T) {
	tests := []struct {
		about, args string // separated by '|'
		want        bool
	}{
		{"libvirt's", "web|start|begin|-", true},
		{"with an extra argument of libvirt's", "web|migrate|begin|qemu+ssh://host/system", true},
		{"empty extra argument", "web|start|begin|", true},
		{"VM named like a command", "apply|start|begin|-", true},
		{"VM named like an operation", "start|start|begin|-", true},
		{"VM named like a flag", "--help|start|begin|-", true},
		{"VM with an odd name", "a\nb\"|start|begin|-", true},
		{"operation of a later libvirt", "web|thaw|end|-", true},
		{"operation of a later libvirt, VM named like a command", "render|thaw|begin|-", true},
		{"three VMs", "apply|a|begin|b", false},
		{"no suboperation of the hook's", "web|start|-|-", false},
		{"suboperation in capitals", "web|start|Begin|-", false},
		{"a command's arguments", "render|--format|json|-", false},
		{"too few", "web|start|begin", false},
		{"too many", "web|start|begin|-|-", false},
		{"none", "", false},
	}
	for _, test := range tests {
		if _, got := Parse(program, strings.Split(test.args, "|"), isCommand); got != test.want {
			t.Errorf("%s: %q is a hook call: %t, want %t", test.about, test.args, got, test.want)
		}
	}
	if _, got := Parse(program, nil, isCommand); got {
		t.Error("no arguments are a hook call")
	}
}

// FuzzParse looks for arguments that are taken for another call than they are.
func FuzzParse(f *testing.F) {
	for _, operation := range qemuOperations {
		f.Add("web", operation, "begin", "-", 4)
		f.Add("apply", operation, "end", "-", 4)
	}
	f.Add("render", "thaw", "begin", "-", 4)
	f.Add("render", "--format", "json", "-", 3)
	f.Fuzz(func(t *testing.T, a, b, c, d string, n int) {
		args := []string{a, b, c, d}
		if n >= 0 && n < 4 {
			args = args[:n]
		}
		call, ok := Parse(program, args, isCommand)
		if !ok {
			if call.Action() != None {
				t.Errorf("%q is no call, and asks for action %d", args, call.Action())
			}
			if len(args) == 4 && slices.Contains(qemuOperations, b) && (c == "begin" || c == "end") {
				t.Errorf("%q is not taken for libvirt's", args)
			}
			return
		}
		if len(args) != 4 || call != (Call{Domain: a, Operation: b, Suboperation: c, Extra: d}) || c != "begin" && c != "end" {
			t.Errorf("%q read as %+v", args, call)
		}
		if call.Action() != None && !slices.Contains(qemuOperations, b) {
			t.Errorf("%q asks for action %d", args, call.Action())
		}
	})
}
