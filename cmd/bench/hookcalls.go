package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"macvtap-filter/internal/bench"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/offload"
)

// A contender is one way to answer the hook calls of one VM's life.
type contender struct {
	hook
	vm    vm
	calls []string // those that are timed
	tidy  string   // the call that undoes them, where none of them does; it is not timed
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
	contenders, err := s.contenders(ctx, o.binary)
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

// contenders are all for the same VM, but two, whose VM has four NICs.
func (s *site) contenders(ctx context.Context, binary string) ([]contender, error) {
	h, err := s.makeHooks(ctx, binary)
	if err != nil {
		return nil, err
	}
	one, four := newVM("web", 1, 1), newVM("router", 2, 4)
	if err := s.plug(one, four); err != nil {
		return nil, err
	}
	all := bench.HookCalls
	return []contender{
		{hook: h.ours, vm: one, calls: all},
		{hook: h.shell, vm: one, calls: all},
		{hook: h.shellFresh, vm: one, calls: []string{bench.FirstStart}, tidy: bench.Stop},
		{hook: h.shellMany, vm: one, calls: all},
		{hook: h.empty, vm: one, calls: all},
		{hook: h.ours, vm: four, calls: all},
		{hook: h.shellMany, vm: four, calls: all},
	}, nil
}

// life is one VM's life under one contender. Without results it is looked at instead
// of timed.
func (s *site) life(ctx context.Context, r *runner, c contender, out *bench.Results) error {
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
	return errors.Join(s.renew(c.vm), s.settle(ctx))
}

// renew leaves a VM's devices as libvirt makes them, each time anew: without the
// check of offloads, which stays on a device until that goes.
func (s *site) renew(v vm) error {
	return s.network.Hypervisor.Do(func() error {
		for _, n := range v.nics {
			device, err := net.InterfaceByName(n.Device)
			if err != nil {
				return fmt.Errorf("%s: %w", n.Device, err)
			}
			if err := offload.Detach(device.Index); err != nil {
				return fmt.Errorf("%s: %w", n.Device, err)
			}
		}
		return nil
	})
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
func (s *site) checkTables(ctx context.Context, c contender, call string) error {
	chains, err := s.nft(ctx, "", "list", "chains", "netdev")
	if err != nil {
		return err
	}
	want := len(c.vm.nics)
	if call == bench.Stop || c.name == bench.EmptyGo {
		want = 0
	}
	if got := strings.Count(chains, "hook egress"); got != want {
		return fmt.Errorf("%s: %d NICs have rules after %q, want %d", c.name, got, call, want)
	}
	return nil
}
