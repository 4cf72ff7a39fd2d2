package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/bench"
	"macvtap-filter/internal/offload"
)

// A contender is one way to answer the hook calls of one VM's life.
type contender struct {
	hook
	vm     vm
	beside []vm     // of the same policy, which run meanwhile
	calls  []string // those that are timed
	tidy   string   // the call that undoes them, where none of them does; it is not timed
}

// timeStarts times each hook call of each contender as a whole process, round by
// round. The first round is for warming up, and looks whether each does what
// it should.
func timeStarts(ctx context.Context, o options, rounds int, out *bench.Results) (err error) {
	s, err := newSite()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	contenders, err := s.contenders(ctx, o)
	if err != nil {
		return err
	}
	r, err := s.startRunner(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	for round := range rounds + 1 {
		for turn := range contenders {
			// Nobody always comes after the same other.
			c := contenders[(turn+round)%len(contenders)]
			into := out
			if round == 0 {
				into = nil
			}
			if err := s.life(ctx, r, c, into); err != nil {
				return err
			}
		}
	}
	return nil
}

// contenders are all for the same VM, but some, whose VM has four NICs.
func (s *site) contenders(ctx context.Context, o options) ([]contender, error) {
	h, err := s.makeHooks(o)
	if err != nil {
		return nil, err
	}
	empty, err := buildEmpty(ctx, filepath.Join(s.folder, "empty"))
	if err != nil {
		return nil, err
	}
	h[bench.EmptyGo] = hook{name: bench.EmptyGo, program: empty, env: h[bench.Ours].env}
	one, four, neighbour := newVM("web", 1, 1), newVM("router", 2, 4), newVM("mail", 3, 1)
	if err := s.plug(one, four, neighbour); err != nil {
		return nil, err
	}
	all := append(bench.HookCalls[:len(bench.HookCalls):len(bench.HookCalls)], bench.Idle)
	var out []contender
	for _, name := range o.contending(bench.Ours, bench.Before, bench.Shell, bench.ShellMany, bench.EmptyGo) {
		out = append(out, contender{hook: h[name], vm: one, calls: all})
	}
	for _, name := range o.contending(bench.Ours, bench.Before) {
		out = append(out, contender{hook: h[name], vm: one, beside: []vm{neighbour}, calls: bench.NextCalls})
	}
	for _, name := range o.contending(bench.Ours, bench.Before, bench.ShellMany) {
		out = append(out, contender{hook: h[name], vm: four, calls: bench.HookCalls})
	}
	return append(out, contender{hook: h[bench.ShellFresh], vm: one, calls: []string{bench.FirstStart}, tidy: bench.Stop}), nil
}

// life is one VM's life under one contender. Without results it is looked at instead
// of timed.
func (s *site) life(ctx context.Context, r *runner, c contender, out *bench.Results) error {
	for _, v := range c.beside {
		if _, err := r.time(c.call(bench.FirstStart, v, s.network.Parent)); err != nil {
			return err
		}
	}
	for _, call := range c.calls {
		took, err := r.time(c.call(call, c.vm, s.network.Parent))
		if err != nil {
			return fmt.Errorf("%s, %s: %w", c.name, call, err)
		}
		if out == nil {
			if err := s.checkTables(ctx, c, call); err != nil {
				return err
			}
			continue
		}
		name := bench.HookCall(call, c.name, len(c.vm.nics))
		out.Add(name, bench.Time, float64(took.Wall))
		out.Add(name, bench.CPU, float64(took.CPU))
	}
	if c.tidy != "" {
		if _, err := r.time(c.call(c.tidy, c.vm, s.network.Parent)); err != nil {
			return err
		}
	}
	for _, v := range c.beside {
		if _, err := r.time(c.call(bench.Stop, v, s.network.Parent)); err != nil {
			return err
		}
	}
	return errors.Join(s.renew(append(c.beside, c.vm)...), s.settle())
}

// renew leaves VMs' devices as libvirt makes them, each time anew: without the
// check of offloads, which stays on a device until that goes.
func (s *site) renew(vms ...vm) error {
	return s.network.Hypervisor.Do(func() error {
		for _, v := range vms {
			for _, n := range v.nics {
				device, err := net.InterfaceByName(n.Device)
				if err != nil {
					return fmt.Errorf("%s: %w", n.Device, err)
				}
				if err := offload.Detach(device.Index); err != nil {
					return fmt.Errorf("%s: %w", n.Device, err)
				}
			}
		}
		return nil
	})
}

// settle waits until the kernel has freed what was deleted, which otherwise the
// next process would wait for that closes a netlink socket: so does this, of one that
// has an address (net/netfilter/nf_tables_api.c, nft_rcv_nl_event).
func (s *site) settle() error {
	return s.network.Hypervisor.Do(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		return errors.Join(unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}), unix.Close(fd))
	})
}

// checkTables reports a contender that did not do what it is timed for.
func (s *site) checkTables(ctx context.Context, c contender, call string) error {
	chains, err := s.nft(ctx, "", "list", "chains", "netdev")
	if err != nil {
		return err
	}
	want := len(c.beside)
	if c.name != bench.EmptyGo && !slices.Contains([]string{bench.Stop, bench.NextStop, bench.Idle}, call) {
		want += len(c.vm.nics)
	}
	if got := strings.Count(chains, "hook egress"); got != want {
		return fmt.Errorf("%s: %d NICs have rules after %q, want %d", c.name, got, call, want)
	}
	return nil
}
