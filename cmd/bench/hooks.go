package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"

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

// hooks are those that are compared, in one site.
type hooks struct{ ours, shell, shellFresh, shellMany, empty hook }

// makeHooks puts the hooks' files where they find them.
func (s *site) makeHooks(ctx context.Context, binary string) (hooks, error) {
	configuration, err := s.file("config.toml", fmt.Sprintf("parents = [%q]\n", s.network.Parent), 0o644)
	if err != nil {
		return hooks{}, err
	}
	allowing, err := s.file("other.toml", fmt.Sprintf("parents = [%q]\n[policy.default]\nallow = [\"gateway\", \"dns\", \"broadcast\", \"192.168.2.99\"]\n", s.network.Parent), 0o644)
	if err != nil {
		return hooks{}, err
	}
	script, err := s.file("hook.sh", shellHook, 0o755)
	if err != nil {
		return hooks{}, err
	}
	many, err := s.file("hooks.sh", shellHookMany, 0o755)
	if err != nil {
		return hooks{}, err
	}
	empty, err := buildEmpty(ctx, filepath.Join(s.folder, "empty"))
	if err != nil {
		return hooks{}, err
	}
	env, other := hookEnvironment(configuration), hookEnvironment(allowing)
	return hooks{
		ours:       hook{bench.Ours, binary, env, other},
		shell:      hook{bench.Shell, script, env, env},
		shellFresh: hook{bench.ShellFresh, script, append(env[:len(env):len(env)], "SHELL_HOOK_FRESH=yes"), nil},
		shellMany:  hook{bench.ShellMany, many, env, env},
		empty:      hook{bench.EmptyGo, empty, env, env},
	}, nil
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
	case bench.FirstStart:
		words, xml = []string{"start", "begin"}, v.running
	case bench.Reapply:
		words, xml = []string{"reconnect", "begin"}, v.running
	case bench.Anew:
		words, xml, env = []string{"reconnect", "begin"}, v.running, h.other
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
