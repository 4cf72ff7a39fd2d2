package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// show is the demonstration from beginning to end, without IPv6 where the kernel
// has none. Its error says plainly what is not as it should be. It removes what
// it made.
func show(ctx context.Context, binary string, ipv6 bool, out *printer) (err error) {
	begin := time.Now()
	s, err := newScene(ipv6)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	h, err := newHook(s, binary)
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

	out.title("With the hook")
	start = time.Now()
	with, err := s.askAll(ctx, questions, asMeant)
	if err != nil {
		return err
	}
	out.printf("Tried the same ways in %v: %s.\n\n", elapsed(start), summary(s.vms, with))
	out.reachTable(s.vms, questions, without, with)
	if err := judge("with the hook", s.vms, questions, with, asMeant); err != nil {
		return err
	}

	out.title("The rules")
	if err := h.showRules(ctx, out, s.vms); err != nil {
		return err
	}
	out.title("What they counted")
	if err := h.showStatus(ctx, out); err != nil {
		return err
	}

	out.title("The VMs stop")
	for _, vm := range s.vms {
		if err := h.call(ctx, out, vm, "stopped", "end"); err != nil {
			return err
		}
	}
	left, err := h.tables()
	if err != nil {
		return err
	}
	after, err := s.askAll(ctx, questions, always)
	if err != nil {
		return err
	}
	out.printf("Tables left in the kernel: %s. Tried the ways again: %s.\n", list(left), summary(s.vms, after))

	if len(left) > 0 {
		return fmt.Errorf("NOT as it should be: tables left after the VMs stopped: %s", list(left))
	}
	if err := judge("after the VMs stopped", s.vms, questions, after, always); err != nil {
		return err
	}
	out.good(fmt.Sprintf("The LAN is closed to the VMs and the internet is open, as it should be (%v in all).", elapsed(begin)))
	return nil
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
