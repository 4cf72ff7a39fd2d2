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
	nics   int
	tables []ruleset.Table
	text   string // nft's, and what takes it away again
	undo   string
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
			bytes, err := s.hold(ctx, h)
			if err != nil {
				return fmt.Errorf("%s, %d hosts allowed: %w", h.Kind, h.Hosts, err)
			}
			if round > 0 { // the first one fills the kernel's caches
				out.Add(bench.Held(h.Rules), bench.Memory, bytes/float64(h.nics))
			}
		}
	}
	return nil
}

// holdings are compared with each other. Of long lists fewer are held.
func (s *site) holdings(o options, vms []vm) ([]holding, error) {
	fewer := func(hosts int) []vm { return vms[:min(len(vms), max(4, 40_000/max(hosts, 1)))] }
	all := []holding{asText(bench.Rules{Kind: bench.Shell}, vms, gateway4)}
	for _, n := range append([]int{0}, o.sizes.hosts...) {
		h := holding{Rules: bench.Rules{Kind: bench.Ours, Hosts: n}, nics: len(fewer(n))}
		for _, v := range fewer(n) {
			link, err := s.network.Hypervisor.Links().LinkByName(v.nics[0].Device)
			if err != nil {
				return nil, err
			}
			tables, err := s.tables(v, link.Attrs().Index, hosts(n), false)
			if err != nil {
				return nil, err
			}
			h.tables = append(h.tables, tables...)
		}
		all = append(all, h)
	}
	for _, n := range o.sizes.hosts {
		all = append(all, asText(bench.Rules{Kind: bench.Linear, Hosts: n}, fewer(n), hosts(n)...))
	}
	return all, nil
}

// copies is how many tables of a few rules each device holds: of so little, what the
// kernel keeps by in half-filled pages would be most.
const copies = 8

// asText gives the rules of the shell hook's kind.
func asText(r bench.Rules, vms []vm, allowed ...netip.Addr) holding {
	times := 1
	if len(allowed) <= fewAllowed {
		times = copies
	}
	h := holding{Rules: r, nics: times * len(vms)}
	var text, undo strings.Builder
	for _, v := range vms {
		for i := range times {
			name := fmt.Sprintf("%s_%d", v.shellTable(), i)
			text.WriteString(strings.Replace(linear(v.nics[0].Device, allowed...), textTable, name, 1))
			fmt.Fprintf(&undo, "delete table netdev %s\n", name)
		}
	}
	h.text, h.undo = text.String(), undo.String()
	return h
}

// fewAllowed is the longest list of which there are copies.
const fewAllowed = 10

// hold programs rules, and gives the bytes that the kernel takes for them.
func (s *site) hold(ctx context.Context, h holding) (float64, error) {
	before, err := kernelMemory()
	if err != nil {
		return 0, err
	}
	if err := s.program(ctx, h.tables, h.text); err != nil {
		return 0, err
	}
	after, err := kernelMemory()
	if err != nil {
		return 0, err
	}
	return after - before, errors.Join(s.program(ctx, nil, h.undo), s.settle(ctx))
}

// program has tables stand, and no other of ours, and has nft do what text says. A
// few tables a transaction: see transactionVMs of apply.
func (s *site) program(ctx context.Context, tables []ruleset.Table, text string) error {
	if text != "" {
		_, err := s.nft(ctx, text, "-f", "-")
		return err
	}
	return s.network.Hypervisor.Do(func() error {
		if len(tables) == 0 {
			removed, err := kernel.Remove(ctx, func(kernel.Standing) bool { return true })
			return errors.Join(err, kernel.Uncheck(removed))
		}
		for i := range tables {
			if err := kernel.Create(ctx, tables[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	})
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
