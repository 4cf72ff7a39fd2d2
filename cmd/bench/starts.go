package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/kernel"
)

//go:embed hook.sh
var shellHook string

// The hook calls that are timed, in the order of a VM's life.
const (
	firstStart = "first start" // no table stands
	reapply    = "re-apply"    // the table stands
	stop       = "stop"
)

var hookCalls = []string{firstStart, reapply, stop}

// A contender is one way to answer hook calls.
type contender struct {
	name string
	jobs map[string]job // by hook call; one that is missing is not timed

	// cleanup undoes what the jobs did, where no job of its own does; it is
	// not timed.
	cleanup job
}

// The contenders' names.
const (
	ours        = "macvtap-filter"
	shell       = "shell hook"
	shellKinder = "shell hook that deletes nothing"
	emptyGo     = "empty Go process"
)

// starts are the times of hook calls.
type starts struct {
	contenders []string
	wall, cpu  map[string]map[string]series // by hook call and contender, in ns
}

// timeStarts times each hook call of each contender as a whole process, round by
// round. The first round is for warming up, and looks whether each does what
// it should.
func timeStarts(ctx context.Context, s *site, o options) (*starts, error) {
	contenders, err := s.contenders(ctx, o.binary)
	if err != nil {
		return nil, err
	}
	r, err := s.startRunner(ctx)
	if err != nil {
		return nil, err
	}
	timed := &starts{wall: map[string]map[string]series{}, cpu: map[string]map[string]series{}}
	for _, call := range hookCalls {
		timed.wall[call], timed.cpu[call] = map[string]series{}, map[string]series{}
	}
	for _, c := range contenders {
		timed.contenders = append(timed.contenders, c.name)
	}
	for round := range o.starts + 1 {
		for turn := range contenders {
			// Nobody always comes after the same other.
			c := contenders[(turn+round)%len(contenders)]
			if err := timed.turn(ctx, s, r, c, round == 0); err != nil {
				return nil, errors.Join(err, r.close())
			}
		}
	}
	return timed, r.close()
}

// turn is one VM's life under one contender.
func (t *starts) turn(ctx context.Context, s *site, r *runner, c contender, warmUp bool) error {
	for _, call := range hookCalls {
		j, ok := c.jobs[call]
		if !ok {
			continue
		}
		took, err := r.time(j)
		if err != nil {
			return fmt.Errorf("%s, %s: %w", c.name, call, err)
		}
		if warmUp {
			if err := s.checkTables(ctx, c.name, call); err != nil {
				return err
			}
			continue
		}
		t.wall[call][c.name] = append(t.wall[call][c.name], float64(took.Wall))
		t.cpu[call][c.name] = append(t.cpu[call][c.name], float64(took.CPU))
	}
	if c.cleanup.Args != nil {
		if _, err := r.time(c.cleanup); err != nil {
			return err
		}
	}
	return s.settle(ctx)
}

// settle waits until the kernel has freed what was deleted, which otherwise the
// next process would wait for that closes a netlink socket.
func (s *site) settle(ctx context.Context) error {
	return s.network.Hypervisor.Do(func() error {
		_, err := kernel.Tables(ctx)
		return err
	})
}

// checkTables reports a contender that did not do what it is timed for.
func (s *site) checkTables(ctx context.Context, name, call string) error {
	tables, err := s.nft(ctx, "", "list", "tables", "netdev")
	if err != nil {
		return err
	}
	want := 1
	if call == stop || name == emptyGo {
		want = 0
	}
	if got := strings.Count(tables, "table "); got != want {
		return fmt.Errorf("%s: %d tables stand after %q, want %d", name, got, call, want)
	}
	return nil
}

func (s *site) contenders(ctx context.Context, binary string) ([]contender, error) {
	configuration, err := s.file("config.toml", fmt.Sprintf("parents = [%q]\n", s.network.Parent), 0o644)
	if err != nil {
		return nil, err
	}
	script, err := s.file("hook.sh", shellHook, 0o755)
	if err != nil {
		return nil, err
	}
	empty, err := s.buildEmpty(ctx)
	if err != nil {
		return nil, err
	}
	// The variables that libvirt sets for a hook.
	env := []string{
		"LC_ALL=C", "PATH=" + hookPath, "HOME=/root", "USER=root", "LOGNAME=root",
		config.Variable + "=" + configuration,
	}
	kinder := s.jobs(script, append(env, "SHELL_HOOK_FRESH=yes"))
	return []contender{
		{name: ours, jobs: s.jobs(binary, env)},
		{name: shell, jobs: s.jobs(script, env)},
		{name: shellKinder, jobs: map[string]job{firstStart: kinder[firstStart]}, cleanup: kinder[stop]},
		{name: emptyGo, jobs: s.jobs(empty, env)},
	}, nil
}

// jobs gives the jobs of a hook, called as libvirt does.
func (s *site) jobs(hook string, env []string) map[string]job {
	up, down := s.domain(vmDevice), s.domain("")
	return map[string]job{
		firstStart: {Args: []string{hook, vmName, "start", "begin", "-"}, Env: env, Stdin: up},
		reapply:    {Args: []string{hook, vmName, "reconnect", "begin", "-"}, Env: env, Stdin: up},
		stop:       {Args: []string{hook, vmName, "stopped", "end", "-"}, Env: env, Stdin: down},
	}
}
