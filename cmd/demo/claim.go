package main

import (
	"context"
	"net/netip"
	"time"
)

// probeWait is how long a guest waits for somebody to say that an address is in use
// (RFC 4862, 5.4; RFC 4861, 10).
const probeWait = time.Second

// claimAddresses has the VMs, which just started, take their addresses as guests do: they
// ask the LAN whether these are free, and where nobody answers, they use them. It is what
// the rules learn them by; where no rules stand, nobody needs it.
func (s *scene) claimAddresses(ctx context.Context) error {
	for _, vm := range s.vms {
		for _, address := range s.addrs(vm.addresses()...) {
			unspecified := netip.IPv6Unspecified()
			if address.Is4() {
				unspecified = netip.IPv4Unspecified()
			}
			if err := vm.ask(unspecified, address); err != nil {
				return err
			}
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(probeWait):
	}
	for _, vm := range s.vms {
		// The announcement (RFC 5227, 2.3).
		if err := vm.ask(vm.addr4, vm.addr4); err != nil {
			return err
		}
	}
	return nil
}

// ask sends one question for an address's MAC.
func (v *vm) ask(source, address netip.Addr) error {
	frame, err := v.whoHasFor(source, address)
	if err != nil {
		return err
	}
	return v.tap.Send(frame)
}
