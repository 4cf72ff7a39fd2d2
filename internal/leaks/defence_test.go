package leaks

// A defence is what keeps the LAN and the VMs apart.
type defence struct {
	name         string
	hook         string // the program that libvirt would call, "" for none
	watch, guard bool
}

// defences are compared in every event, the best last.
func defences() []defence {
	all := []defence{
		{name: "nothing"},
		{name: "shell hook", hook: shellHook},
		{name: "hook", hook: program},
		{name: "hook, watch", hook: program, watch: true},
	}
	if canGuard {
		all = append(all, defence{name: "hook, watch, guard", hook: program, watch: true, guard: true})
	}
	return all
}

// ours reports whether the hook is this program's.
func (d defence) ours() bool { return d.hook == program }
