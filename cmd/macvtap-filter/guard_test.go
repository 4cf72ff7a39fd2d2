package main

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
)

// needGuard skips a test on kernels that cannot have a guard.
func needGuard(t *testing.T) {
	t.Helper()
	if ok, err := hasGuard("guard"); err != nil {
		t.Fatal(err)
	} else if !ok {
		lab.NoGuard(t, "it says so")
	}
}

// A guard whose names are spelled out goes with the numbers that libvirt counts on
// with: the start of a VM whose device is near the last one has it reach farther.
func TestStartExtendsTheGuard(t *testing.T) {
	needGuard(t)
	n, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	c := &config.Config{File: "config.toml", Guard: true, GuardPrefixes: []string{"macvtap"}}
	for i, device := range []string{"macvtap0", "macvtap900", "macvtap901", "macvtap4000"} {
		tap, err := n.AddMacvtap(device, net.HardwareAddr{0x52, 0x54, 0, 0, 0, byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		d := &domain.Domain{Name: "web", UUID: "6695eb01-f6a4-8304-79aa-97f2502e193f", Direct: []domain.Interface{{Number: 1, Target: device, Parent: n.Parent, MAC: tap.MAC}}}
		err = n.Hypervisor.Do(func() error {
			ctx, cancel := context.WithTimeout(context.Background(), bound)
			defer cancel()
			if w := raiseFirst(ctx, c, d); w != "" {
				t.Errorf("%s: %s", device, w)
			}
			guard, standing, err := kernel.LookGuard(ctx)
			if !standing || !guard.Reaches(device) {
				t.Errorf("%s: a guard stands: %t, %q", device, standing, guard.Comment)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := tap.Up(); err != nil { // others in use are no reason to wait
			t.Fatal(err)
		}
	}
}

// After all VMs' rules were made, "apply --all" raises the guard that the
// configuration wants, unless it would cut off a VM whose rules could not be made,
// and one that is no more wanted goes before.
func TestApplyRaisesTheGuard(t *testing.T) {
	needGuard(t)
	n, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	tap, err := n.AddMacvtap("macvtap0", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := tap.Up(); err != nil {
		t.Fatal(err)
	}
	wanted := &config.Config{File: "config.toml", Guard: true, GuardPrefixes: []string{"macvtap"}}
	unwanted := &config.Config{File: "config.toml", GuardPrefixes: wanted.GuardPrefixes}
	others := &config.Config{File: "config.toml", Guard: true, GuardPrefixes: []string{"web"}}

	var said bytes.Buffer
	std := streams{out: &said, err: &said}
	step := func(about string, work func(context.Context) error, wantErr, wantText string, wantStanding bool) {
		t.Helper()
		said.Reset()
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		var standing bool
		err := n.Hypervisor.Do(func() (err error) {
			workErr := work(ctx)
			if wantErr == "" && workErr != nil || wantErr != "" && (workErr == nil || !strings.Contains(workErr.Error(), wantErr)) {
				t.Errorf("%s: error %v, want %q", about, workErr, wantErr)
			}
			_, standing, err = kernel.LookGuard(ctx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if standing != wantStanding {
			t.Errorf("%s: a guard stands: %t", about, standing)
		}
		if !strings.Contains(said.String(), wantText) {
			t.Errorf("%s: said %q, want %q", about, said.String(), wantText)
		}
	}
	raise := func(c *config.Config, o options, failed bool) func(context.Context) error {
		return func(ctx context.Context) error { return raiseLast(ctx, std, o, c, failed) }
	}
	lower := func(o options) func(context.Context) error {
		return func(ctx context.Context) error { return lowerGuard(ctx, std, o, "not wanted") }
	}
	step("not wanted", raise(unwanted, options{}, false), "", "", false)
	step("a VM failed", raise(wanted, options{}, true), "the guard is not raised", "", false)
	step("dry run", raise(wanted, options{dryRun: true}, false), "", `devices = { "macvtap`, false)
	step("wanted", raise(wanted, options{}, false), "", `device "macvtap0" has no rules, and the guard closes it`, true)
	step("a VM failed beside a guard", raise(wanted, options{}, true), "", "the guard closes devices macvtap* ", true)
	step("other names", raise(others, options{}, false), "", "the guard closes devices web* ", true)
	step("dry run of the removal", lower(options{dryRun: true}), "", "delete table netdev macvtap-filter-guard\n", true)
	step("removal", lower(options{}), "", "removed the guard: not wanted", false)
	step("nothing to remove", lower(options{}), "", "", false)

	// A running watch keeps the guard by itself.
	var owned *kernel.OwnedGuard
	step("owned", func(ctx context.Context) (err error) {
		owned, err = kernel.OpenGuard(ctx, filter.Guard(wanted.GuardPrefixes))
		return err
	}, "", "", true)
	step("beside its owner", raise(wanted, options{}, false), "", "", true)
	step("removal beside its owner", lower(options{}), kernel.ErrGuardOwned.Error(), "", true)
	if err := owned.Close(); err != nil {
		t.Error(err)
	}
	step("removal after its owner", lower(options{}), "", "removed", false)
}
