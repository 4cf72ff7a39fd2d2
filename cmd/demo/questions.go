package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"macvtap-filter/internal/lab"
)

// A question is a row of the table: one way between a VM and somebody.
type question struct {
	inward bool   // toward the VM, not from it
	peer   string // who is at the other end
	how    string
	open   bool // what the way should be with the hook
	try    probe
}

// of names the way between a VM and the peer.
func (q question) of(v *vm) string {
	peer := strings.Join(strings.Fields(q.peer), " ")
	if q.inward {
		return fmt.Sprintf("%s to %s (%s)", peer, v.name, q.how)
	}
	return fmt.Sprintf("%s to %s (%s)", v.name, peer, q.how)
}

// arrow points from the VM to whom it asks, or back to a VM that is asked.
func (q question) arrow() string {
	if q.inward {
		return "←"
	}
	return "→"
}

// answers are the questions' results, in their order: whether each way is open.
type answers map[*vm][]bool

// questions gives the rows that this kernel can answer.
func (s *scene) questions() []question {
	at := func(name string, address netip.Addr) string { return fmt.Sprintf("%-8s %s", name, address) }
	addr4 := func(v *vm) netip.Addr { return v.addr4 }
	addr6 := func(v *vm) netip.Addr { return v.addr6 }
	gateway := func(s *scene) *lab.Host { return s.gateway }
	neighbour := func(s *scene) *lab.Host { return s.neighbour }

	all := []struct {
		six bool
		question
	}{
		{false, question{false, at("internet", internet4), "TCP 443", true, connect(internet4, portTLS)}},
		{true, question{false, at("internet", internet6), "TCP 443", true, connect(internet6, portTLS)}},
		{false, question{false, at("DNS", dns4), "DNS query", true, lookUp(dns4)}},
		{true, question{false, at("DNS", dns6), "DNS query", true, lookUp(dns6)}},
		{false, question{false, at("gateway", gateway4), "ping", true, ping(gateway4)}},
		{true, question{false, at("gateway", gateway6), "ping", true, ping(gateway6)}},
		{false, question{true, at("gateway", gateway4), "ping", true, pinged(gateway, gateway4, addr4)}},
		{false, question{false, at("LAN host", neighbour4), "ping", false, ping(neighbour4)}},
		{false, question{false, at("LAN host", neighbour4), "TCP 80", false, connect(neighbour4, portHTTP)}},
		{false, question{false, at("LAN host", neighbour4), "VLAN 0 UDP", false, noteTagged}},
		{true, question{false, at("LAN host", neighbour6), "TCP 80", false, connect(neighbour6, portHTTP)}},
		{true, question{false, at("LAN host", neighbourLL), "ping", false, ping(neighbourLL)}},
		{false, question{false, "the other VM", "ping", false, pingOther}},
		{false, question{true, at("LAN host", neighbour4), "ping", false, pinged(neighbour, neighbour4, addr4)}},
		{true, question{true, at("LAN host", neighbour6), "ping", false, pinged(neighbour, neighbour6, addr6)}},
	}
	var some []question
	for _, q := range all {
		if s.ipv6 || !q.six {
			some = append(some, q.question)
		}
	}
	return some
}

// askAll asks every question for every VM, all at once. likely says where an
// answer is worth a long wait.
func (s *scene) askAll(ctx context.Context, questions []question, likely func(question) bool) (answers, error) {
	result := make(answers)
	errs := make([][]error, len(s.vms))
	var asking sync.WaitGroup
	for i, vm := range s.vms {
		open := make([]bool, len(questions))
		result[vm], errs[i] = open, make([]error, len(questions))
		for j, q := range questions {
			asking.Go(func() {
				open[j], errs[i][j] = q.try(ctx, vm, likely(q))
			})
		}
	}
	asking.Wait()
	for i, vm := range s.vms {
		if err := errors.Join(append(errs[i], vm.failure(), ctx.Err())...); err != nil {
			return nil, fmt.Errorf("VM %s: %w", vm.name, err)
		}
	}
	return result, nil
}

// always and asMeant say where an answer is likely: without rules everywhere,
// with them where they mean it.
func always(question) bool    { return true }
func asMeant(q question) bool { return q.open }
