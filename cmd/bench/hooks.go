package main

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"macvtap-filter/internal/bench"
	"macvtap-filter/internal/config"
)

//go:embed hook.sh
var shellHook string

//go:embed hooks.sh
var shellHookMany string

// A hook is a program that answers libvirt's calls.
type hook struct {
	name    string
	program string
	env     []string
	other   []string // the environment for bench.Anew, which has ours make other rules
}

// contending gives those of the hooks that are measured: without --before there is no
// build before.
func (o options) contending(names ...string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == bench.Before && o.before == "" })
}

// makeHooks puts the hooks' files where they find them, and gives the hooks by their
// names.
func (s *site) makeHooks(o options) (map[string]hook, error) {
	configuration, err := s.file("config.toml", fmt.Sprintf("parents = [%q]\n", s.network.Parent), 0o644)
	if err != nil {
		return nil, err
	}
	allowing, err := s.file("other.toml", fmt.Sprintf("parents = [%q]\n[policy.default]\nallow = [\"gateway\", \"dns\", \"broadcast\", \"192.168.2.99\"]\n", s.network.Parent), 0o644)
	if err != nil {
		return nil, err
	}
	script, err := s.file("hook.sh", shellHook, 0o755)
	if err != nil {
		return nil, err
	}
	many, err := s.file("hooks.sh", shellHookMany, 0o755)
	if err != nil {
		return nil, err
	}
	env, other := hookEnvironment(configuration), hookEnvironment(allowing)
	hooks := map[string]hook{}
	for _, h := range []hook{
		{bench.Ours, o.binary, env, other},
		{bench.Before, o.before, env, other},
		{bench.Shell, script, env, env},
		{bench.ShellFresh, script, append(env[:len(env):len(env)], "SHELL_HOOK_FRESH=yes"), nil},
		{bench.ShellMany, many, env, env},
	} {
		hooks[h.name] = h
	}
	return hooks, nil
}

// hookEnvironment are the variables that libvirt sets for a hook, and the one that
// names our configuration.
func hookEnvironment(configuration string) []string {
	return []string{
		"LC_ALL=C", "PATH=" + hookPath, "HOME=/root", "USER=root", "LOGNAME=root",
		config.Variable + "=" + configuration,
	}
}

// call gives the job of calling the hook for a VM, as libvirt does.
func (h hook) call(call string, v vm, parent string) job {
	words, xml, env := []string{"stopped", "end"}, v.stopped, h.env
	switch call {
	case bench.FirstStart, bench.NextStart:
		words, xml = []string{"start", "begin"}, v.running
	case bench.Reapply:
		words, xml = []string{"reconnect", "begin"}, v.running
	case bench.Anew:
		words, xml, env = []string{"reconnect", "begin"}, v.running, h.other
	case bench.Idle:
		words = []string{"prepare", "begin"}
	}
	return job{Args: []string{h.program, v.name, words[0], words[1], "-"}, Env: env, Stdin: xml(parent)}
}

// command gives the job of an administrator's command of ours.
func (h hook) command(args ...string) job {
	return job{Args: append([]string{h.program}, args...), Env: h.env}
}

// need reports a binary that is not there.
func need(binary string) (string, error) {
	path, err := filepath.Abs(binary)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w (make builds it)", err)
	}
	return path, nil
}
