package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"macvtap-filter/internal/bench"
)

// A crowd is a site with many VMs, each with one NIC, which its hook protects; one
// that is not protected yet; and as many more as are started at once.
type crowd struct {
	*site
	own     hook
	runner  *runner
	libvirt *libvirt

	vms       []vm
	next      vm
	impatient []vm
}

// timeScale times starts beside many others, many starts at once, and the commands
// that look at all VMs.
func timeScale(ctx context.Context, o options, rounds int, out *bench.Results) (err error) {
	crowds, err := newCrowds(ctx, o, o.sizes.besides, bench.Ours, bench.Before, bench.ShellMany)
	defer func() { err = errors.Join(err, crowds.close()) }()
	if err != nil {
		return err
	}
	for round := range rounds + 1 {
		into := out
		if round == 0 { // the first one is for warming up
			into = new(bench.Results)
		}
		// Starts are short, and make most of what is said of many VMs.
		for turn := range startsInRound * len(crowds) {
			c := crowds[(turn+round)%len(crowds)]
			if err := errors.Join(c.start(into), c.stop()); err != nil {
				return fmt.Errorf("%s, %d VMs: %w", c.own.name, len(c.vms), err)
			}
		}
		for _, c := range crowds {
			if round == 0 && c.own.name == bench.Before {
				continue // minutes of many VMs
			}
			if err := errors.Join(c.start(new(bench.Results)), c.commands(into), c.stop(), c.rush(o, into)); err != nil {
				return fmt.Errorf("%s, %d VMs: %w", c.own.name, len(c.vms), err)
			}
		}
	}
	return nil
}

// startsInRound is how often each crowd's next VM starts in a round, all crowds in turn.
const startsInRound = 4

type crowds []*crowd

// newCrowds gives a crowd of each size for each hook, to be closed with an error, too.
func newCrowds(ctx context.Context, o options, sizes []int, names ...string) (crowds, error) {
	var out crowds
	for _, n := range sizes {
		for _, name := range o.contending(names...) {
			c, err := newCrowd(ctx, o, name, n)
			if c != nil {
				out = append(out, c)
			}
			if err != nil {
				return out, fmt.Errorf("%s, %d VMs: %w", name, n, err)
			}
		}
	}
	return out, nil
}

func (all crowds) close() (err error) {
	for _, c := range all {
		err = errors.Join(err, c.close())
	}
	return err
}

// newCrowd gives a crowd, to be closed, with an error if it is not complete.
func newCrowd(ctx context.Context, o options, name string, n int) (_ *crowd, err error) {
	c := &crowd{next: newVM("next", 0, 1)}
	if c.site, err = newSite(); err != nil {
		return nil, err
	}
	hooks, err := c.makeHooks(o)
	if err != nil {
		return c, err
	}
	c.own = hooks[name]
	if c.runner, err = c.startRunner(ctx); err != nil {
		return c, err
	}
	c.vms = newVMs(n)
	if n == 0 {
		c.impatient = newVMs(o.sizes.atOnce)
	}
	if err := c.plug(append(append([]vm{c.next}, c.vms...), c.impatient...)...); err != nil {
		return c, err
	}
	return c, c.protect(ctx)
}

// newVMs makes up so many VMs, each with a NIC.
func newVMs(n int) []vm {
	var vms []vm
	for i := range n {
		vms = append(vms, newVM(fmt.Sprintf("vm-%d", i+1), i+1, 1))
	}
	return vms
}

// linearTable gives a table of the shell hook's kind for a VM's first NIC.
func linearTable(v vm, allowed ...netip.Addr) string {
	return strings.Replace(linear(v.nics[0].Device, allowed...), textTable, v.shellTable(), 1)
}

// shellTable is the table of the VM's first NIC, as hooks.sh calls it.
func (v vm) shellTable() string { return fmt.Sprintf("shell_hook_%s_1", v.name) }

// protect programs what the crowd's own hook would.
func (c *crowd) protect(ctx context.Context) (err error) {
	if c.own.name != bench.ShellMany { // a build of ours
		if c.libvirt, err = c.startLibvirt(ctx, append(c.vms[:len(c.vms):len(c.vms)], c.next)); err != nil {
			return err
		}
		if _, err = c.runner.time(c.own.command("apply", "--all")); err != nil {
			return err
		}
		return c.stop()
	}
	var all strings.Builder
	for _, v := range c.vms {
		all.WriteString(linearTable(v, gateway4))
	}
	_, err = c.nft(ctx, all.String(), "-f", "-")
	return err
}

func (c *crowd) close() error {
	var errs []error
	if c.libvirt != nil {
		errs = append(errs, c.libvirt.close())
	}
	if c.runner != nil {
		errs = append(errs, c.runner.close())
	}
	return errors.Join(append(errs, c.site.close())...)
}

// start times one more VM's start.
func (c *crowd) start(out *bench.Results) error {
	took, err := c.runner.time(c.own.call(bench.FirstStart, c.next, c.network.Parent))
	if err != nil {
		return err
	}
	out.Add(bench.Beside(c.own.name, len(c.vms)), bench.Time, float64(took.Wall))
	return nil
}

// stop stops it again.
func (c *crowd) stop() error {
	if _, err := c.runner.time(c.own.call(bench.Stop, c.next, c.network.Parent)); err != nil {
		return err
	}
	return errors.Join(c.renew(c.next), c.settle())
}

// commands times what looks at all VMs. That nothing is wrong then, verify and status
// say.
func (c *crowd) commands(out *bench.Results) error {
	if c.libvirt == nil || len(c.vms) == 0 {
		return nil
	}
	for _, command := range bench.Commands {
		took, err := c.runner.time(c.own.command(strings.Fields(command)...))
		if err != nil {
			return err
		}
		out.Add(bench.Command(command, c.own.name, len(c.vms)), bench.Time, float64(took.Wall))
	}
	other := c.own.command("apply", "--all")
	other.Env = c.own.other
	took, err := c.runner.time(other)
	if err != nil {
		return err
	}
	out.Add(bench.Command(bench.ApplyAnew, c.own.name, len(c.vms)), bench.Time, float64(took.Wall))
	_, err = c.runner.time(c.own.command("apply", "--all")) // and the usual ones again
	return err
}

// rush has many VMs start at once. Of the shell hook's there are fewer: each nft
// begins anew when another one has changed anything.
func (c *crowd) rush(o options, out *bench.Results) error {
	if len(c.impatient) == 0 {
		return nil
	}
	if c.libvirt != nil {
		if err := c.startAll(c.impatient, out); err != nil {
			return err
		}
	}
	return c.startAll(c.impatient[:o.sizes.atOnceShell], out)
}

// startAll times starts at once, and counts those that fail: of ours none may.
func (c *crowd) startAll(vms []vm, out *bench.Results) error {
	var up, down []job
	for _, v := range vms {
		up = append(up, c.own.call(bench.FirstStart, v, c.network.Parent))
		down = append(down, c.own.call(bench.Stop, v, c.network.Parent))
	}
	took, err := c.runner.timeAll(up)
	if err != nil {
		return err
	}
	if failed := took.Failures; c.libvirt != nil && len(failed) > 0 {
		fmt.Fprintf(os.Stderr, "bench: of %d starts at once %d failed: %s\n", len(up), len(failed), failed[0])
	}
	name := bench.AtOnce(c.own.name, len(up))
	out.Add(name, bench.Time, float64(took.Wall))
	out.Add(name, bench.Failures, float64(len(took.Failures)))
	if _, err := c.runner.timeAll(down); err != nil {
		return err
	}
	return c.settle()
}
