package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"macvtap-filter/internal/bench"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
)

// A holding is the rules of many NICs.
type holding struct {
	bench.Rules
	nics  int                         // those that more adds
	first func(context.Context) error // programs one NIC's, nil where its are as all others'
	more  func(context.Context) error
}

// timeMemory tells what the kernel holds for a NIC under several rulesets: of many NICs
// at once, by their number, since others use the kernel's memory too.
func timeMemory(ctx context.Context, o options, rounds int, out *bench.Results) (err error) {
	s, err := newSite()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	vms := newVMs(o.sizes.held)
	if err := s.plug(vms...); err != nil {
		return err
	}
	all, err := s.holdings(o, vms)
	if err != nil {
		return err
	}
	for round := range rounds + 1 {
		for _, h := range all {
			into := out
			if round == 0 { // the first one fills the kernel's caches
				into = new(bench.Results)
			}
			if err := s.hold(ctx, h, into); err != nil {
				return fmt.Errorf("%s, %d hosts allowed: %w", h.Kind, h.Hosts, err)
			}
			if err := errors.Join(s.asText("flush ruleset")(ctx), s.renew(vms...), s.settle()); err != nil {
				return err
			}
		}
	}
	return nil
}

// holdings are compared with each other. Of long lists fewer are held.
func (s *site) holdings(o options, vms []vm) ([]holding, error) {
	fewer := func(hosts, least int) []vm { return vms[:min(len(vms), max(least, 40_000/max(hosts, 1)))] }
	all := []holding{s.asShell(bench.Rules{Kind: bench.Shell}, vms, gateway4)}
	for _, n := range append([]int{0}, o.sizes.hosts...) {
		var views []ruleset.Table
		for _, v := range fewer(n, 64) { // each adds little
			link, err := s.network.Hypervisor.Links().LinkByName(v.nics[0].Device)
			if err != nil {
				return nil, err
			}
			tables, err := s.tables(v, link.Attrs().Index, s.configuration(hosts(n), false, "first"))
			if err != nil {
				return nil, err
			}
			views = append(views, tables...)
		}
		all = append(all, s.asOurs(n, views))
	}
	for _, n := range o.sizes.hosts {
		all = append(all, s.asShell(bench.Rules{Kind: bench.Linear, Hosts: n}, fewer(n, 4), hosts(n)...))
	}
	if o.before == "" {
		return all, nil
	}
	before, err := s.asBefore(o, vms)
	return append(all, before), err
}

// asOurs gives our own rules of NICs of one policy.
func (s *site) asOurs(hosts int, views []ruleset.Table) holding {
	create := func(views []ruleset.Table) func(context.Context) error {
		return func(ctx context.Context) error {
			return s.network.Hypervisor.Do(func() error { return kernel.Create(ctx, views) })
		}
	}
	return holding{
		Rules: bench.Rules{Kind: bench.Ours, Hosts: hosts}, nics: len(views) - 1,
		first: create(views[:1]), more: create(views[1:]),
	}
}

// asBefore has the build before program its own, beside a stand-in for libvirt's daemon
// that knows the VMs.
func (s *site) asBefore(o options, vms []vm) (holding, error) {
	hooks, err := s.makeHooks(o)
	if err != nil {
		return holding{}, err
	}
	return holding{
		Rules: bench.Rules{Kind: bench.Before}, nics: len(vms),
		more: func(ctx context.Context) (err error) {
			l, err := s.startLibvirt(ctx, vms)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, l.close()) }()
			r, err := s.startRunner(ctx)
			if err != nil {
				return err
			}
			_, err = r.time(hooks[bench.Before].command("apply", "--all"))
			return errors.Join(err, r.close())
		},
	}, nil
}

// asText has nft do what a text says.
func (s *site) asText(text string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := s.nft(ctx, text, "-f", "-")
		return err
	}
}

// copies is how many tables of a few rules each device holds: of so little, what the
// kernel keeps by in half-filled pages would be most.
const copies = 8

// asShell gives the rules of the shell hook's kind.
func (s *site) asShell(r bench.Rules, vms []vm, allowed ...netip.Addr) holding {
	times := 1
	if len(allowed) <= fewAllowed {
		times = copies
	}
	var text strings.Builder
	for _, v := range vms {
		for i := range times {
			name := fmt.Sprintf("%s_%d", v.shellTable(), i)
			text.WriteString(strings.Replace(linear(v.nics[0].Device, allowed...), textTable, name, 1))
		}
	}
	return holding{Rules: r, nics: times * len(vms), more: s.asText(text.String())}
}

// fewAllowed is the longest list of which there are copies.
const fewAllowed = 10

// hold programs rules, and adds the bytes that the kernel takes for them.
func (s *site) hold(ctx context.Context, h holding, out *bench.Results) error {
	if h.first != nil {
		bytes, err := taken(func() error { return h.first(ctx) })
		if err != nil {
			return err
		}
		out.Add(bench.Held(bench.Rules{Kind: bench.OursFirst, Hosts: h.Hosts}), bench.Memory, bytes)
	}
	bytes, err := taken(func() error { return h.more(ctx) })
	if err != nil {
		return err
	}
	out.Add(bench.Held(h.Rules), bench.Memory, bytes/float64(h.nics))
	return nil
}

// taken gives the bytes that the kernel takes for what is done.
func taken(do func() error) (float64, error) {
	before, err := kernelMemory()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := kernelMemory()
	return after - before, err
}

// kernelMemory gives the bytes of memory that the kernel holds for itself and cannot
// take back (proc(5), /proc/meminfo), once it has stopped freeing what was deleted.
func kernelMemory() (float64, error) {
	last, err := readKernelMemory()
	for range 40 {
		time.Sleep(50 * time.Millisecond)
		now, err := readKernelMemory()
		if err != nil || now >= last-64<<10 {
			return now, err
		}
		last = now
	}
	return last, err
}

func readKernelMemory() (float64, error) {
	content, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line)
		switch fields[0] {
		case "SUnreclaim:", "VmallocUsed:", "Percpu:":
			kib, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				return 0, fmt.Errorf("/proc/meminfo: %w", err)
			}
			sum += kib * 1024
		}
	}
	return sum, nil
}
