package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A showing is what to demonstrate.
type showing struct {
	binary string
	ipv6   bool // the kernel has it
	rules  bool // print them, too
}

// show is the demonstration from beginning to end. Its error says plainly what is not
// as it should be. What the reader came for, the table, is the end of the output: it
// stays on the screen. show removes what it made.
func show(ctx context.Context, what showing, out *printer) (err error) {
	begin := time.Now()
	s, err := newScene(what.ipv6)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	h, err := newHook(s, what.binary)
	if err != nil {
		return err
	}

	out.println("A hypervisor, its LAN and two VMs, in network namespaces of their own:")
	out.println(s.picture())
	if !s.ipv6 {
		out.warn("This kernel speaks no IPv6: the rows about it are left out.")
	}

	out.title("Without the hook")
	questions := s.questions()
	start := time.Now()
	without, err := s.askAll(ctx, questions, always)
	if err != nil {
		return err
	}
	out.printf("Tried %d ways for each VM in %v: %s.\n", len(questions), elapsed(start), summary(s.vms, without))

	if err := judge("without the hook, so this would prove nothing", s.vms, questions, without, always); err != nil {
		return err
	}

	out.title("libvirt starts the VMs, and calls the hook before their first frame")
	out.println("The configuration:")
	out.code(string(configFile))
	for _, vm := range s.vms {
		if err := s.restart(ctx, vm, func() error { return h.call(ctx, out, vm, "start", "begin") }); err != nil {
			return err
		}
	}
	if err := s.claimAddresses(ctx); err != nil {
		return err
	}

	start = time.Now()
	with, err := s.askAll(ctx, questions, asMeant)
	if err != nil {
		return err
	}
	out.printf("Tried the same ways in %v.\n", elapsed(start))
	if err := judge("with the hook", s.vms, questions, with, asMeant); err != nil {
		out.reachTable(s.vms, questions, without, with)
		return err
	}

	if what.rules {
		out.title("The rules")
		if err := h.showRules(ctx, out, s.vms); err != nil {
			return err
		}
	}
	out.title("What the rules counted")
	if err := h.showStatus(ctx, out); err != nil {
		return err
	}

	out.title("The VMs stop")
	if err := s.stopAll(ctx, h, out, questions); err != nil {
		return err
	}

	out.title("What the VMs reached")
	out.reachTable(s.vms, questions, without, with)
	out.good(verdict(questions, elapsed(begin)))
	return nil
}

// stopAll has the hook told that the VMs stopped: nothing of it may be left, and every
// way be as it was before.
func (s *scene) stopAll(ctx context.Context, h *hook, out *printer, questions []question) error {
	for _, vm := range s.vms {
		if err := h.call(ctx, out, vm, "stopped", "end"); err != nil {
			return err
		}
	}
	left, err := h.tables()
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("NOT as it should be: tables left after the VMs stopped: %s", list(left))
	}
	after, err := s.askAll(ctx, questions, always)
	if err != nil {
		return err
	}
	if err := judge("after the VMs stopped", s.vms, questions, after, always); err != nil {
		return err
	}
	out.println("No table is left in the kernel, and every way is as it was without the hook.")
	return nil
}

// verdict ends a demonstration in which all was as it should be.
func verdict(questions []question, took time.Duration) string {
	open := 0
	for _, q := range questions {
		if q.open {
			open++
		}
	}
	return fmt.Sprintf("With the hook all %d ways between a VM and the LAN are closed, and all %d to the internet,\nthe name server and the gateway are open, as it should be (%v).",
		len(questions)-open, open, took)
}

// judge says which ways are not what they should be.
func judge(when string, vms []*vm, questions []question, found answers, should func(question) bool) error {
	var errs []error
	for _, vm := range vms {
		for i, q := range questions {
			if is := found[vm][i]; is != should(q) {
				errs = append(errs, fmt.Errorf("  %s: %s, and should be %s", q.of(vm), state(is), state(!is)))
			}
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("NOT as it should be %s:\n%w", when, errors.Join(errs...))
}

// state names what a way is.
func state(open bool) string {
	if open {
		return "open"
	}
	return "closed"
}

// summary counts what each VM's questions gave.
func summary(vms []*vm, a answers) string {
	var parts []string
	for _, vm := range vms {
		reached := 0
		for _, yes := range a[vm] {
			if yes {
				reached++
			}
		}
		parts = append(parts, fmt.Sprintf("%s has %d of %d open", vm.name, reached, len(a[vm])))
	}
	return list(parts)
}

func elapsed(start time.Time) time.Duration { return time.Since(start).Round(10 * time.Millisecond) }
