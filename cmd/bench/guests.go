package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"macvtap-filter/internal/bench"
	"macvtap-filter/internal/guest"
	"macvtap-filter/internal/lab"
)

// A real is a real guest on a macvtap device, and an internet host behind the LAN's
// gateway that it talks with.
type real struct {
	*site
	tap      *lab.Tap
	internet *lab.Host

	console console
	stop    context.CancelFunc
	ended   chan error
}

// guestModules are what the guest needs beside the kernel itself.
var guestModules = []string{"virtio_pci", "virtio_net"}

//go:embed guest.sh
var guestInit []byte

// timeGuests measures what a guest sends and receives, and how long an answer of it
// takes, under each ruleset, round by round, in one boot.
func timeGuests(ctx context.Context, o options, rounds int, out *bench.Results) (err error) {
	s, err := newSite()
	if err != nil {
		return err
	}
	g := &real{site: s}
	defer func() { err = errors.Join(err, g.close()) }()
	v := newVM("web", 1, 1)
	if err := g.boot(ctx, v, out); err != nil {
		return err
	}
	all, err := g.guestRules(v)
	if err != nil {
		return err
	}
	for round := range rounds + 1 {
		into := out
		if round == 0 { // the first one is for warming up: an emulator translates what it runs
			into = new(bench.Results)
		}
		for turn := range all {
			r := all[(turn+round)%len(all)]
			if err := s.install(ctx, g.tap, r); err != nil {
				return fmt.Errorf("%s: %w", r.Kind, err)
			}
			if err := g.underRules(ctx, o, r, into); err != nil {
				return fmt.Errorf("%s: %w", r.Kind, err)
			}
		}
	}
	return nil
}

// guestRules are compared with each other.
func (g *real) guestRules(v vm) ([]rules, error) {
	all, err := g.allRules([]int{10}, v, g.tap)
	if err != nil {
		return nil, err
	}
	var few []rules
	for _, r := range all {
		switch {
		case r.programs != nil:
			err = errors.Join(err, r.close())
		case r.Hosts == 0 && r.Kind != bench.OursWatch && r.Kind != bench.OursFlows: // whose guest is asked on no port
			few = append(few, r)
		}
	}
	return few, err
}

// boot lays the network, boots the guest on it, and waits until it is there.
func (g *real) boot(ctx context.Context, v vm, out *bench.Results) error {
	router, err := g.network.AddHost("gateway", lanMAC, netip.PrefixFrom(gateway4, 24))
	if err != nil {
		return err
	}
	mac := net.HardwareAddr{0x02, 0, 0, 0, 0, 0x02}
	if g.internet, err = g.network.AddBehind(router, "internet", mac, netip.PrefixFrom(internet4, 32)); err != nil {
		return err
	}
	if g.tap, err = g.network.AddMacvtap(v.nics[0].Device, v.nics[0].MAC); err != nil {
		return err
	}
	if err := errors.Join(g.tap.OpenVirtio(), g.tap.Up()); err != nil {
		return err
	}
	machine, err := g.machine(ctx)
	if err != nil {
		return err
	}
	out.About = append(out.About, bench.Fact{Key: "guests", Value: about(machine)})
	running, stop := context.WithCancel(ctx)
	g.stop, g.ended = stop, make(chan error, 1)
	go func() { g.ended <- machine.Run(running) }()
	return g.greet()
}

// machine makes what the guest boots from.
func (g *real) machine(ctx context.Context) (*guest.VM, error) {
	kernel, err := guest.Kernel(ctx)
	if err != nil {
		return nil, err
	}
	image := filepath.Join(g.folder, "initramfs.gz")
	root := guest.NewInitramfs(kernel)
	root.AddFile("/init", 0o755, guestInit)
	err = errors.Join(root.AddBusybox(), root.AddModules(guestModules...), root.AddProgram("/usr/bin/iperf3"), root.WriteFile(image))
	if err != nil {
		return nil, err
	}
	_, noVhost := os.Stat("/dev/vhost-net")
	return &guest.VM{
		Kernel: kernel.Vmlinuz, Initramfs: image, Append: "quiet", Accel: guest.Accel(), Console: &g.console,
		NIC: &guest.NIC{Tap: g.tap.File(), MAC: g.tap.MAC, Vhost: noVhost == nil},
	}, nil
}

// about says what the figures of a machine are worth.
func about(v *guest.VM) string {
	how := "The guest runs with KVM"
	if v.Accel != guest.KVM {
		how = "The guest is emulated in software, for want of KVM, so that its own processor is what limits it: " +
			"a filter's part is smaller here than it would be on a host with KVM"
	}
	if v.NIC.Vhost {
		return how + "; its frames go by vhost-net."
	}
	return how + "; its frames go by QEMU, not by vhost-net."
}

// bootTime is how long the guest may take until it answers; software takes seconds.
const bootTime = 5 * time.Minute

// greet waits until the guest answers pings.
func (g *real) greet() error {
	for end := time.Now().Add(bootTime); time.Now().Before(end); {
		select {
		case err := <-g.ended:
			g.ended <- err
			return fmt.Errorf("the guest ended: %w: %s", err, g.console.String())
		default:
		}
		if !bytes.Contains([]byte(g.console.String()), []byte("guest-is-ready")) {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if ok, err := g.internet.Ping(vm4, time.Second); err != nil || ok {
			return err
		}
	}
	return fmt.Errorf("the guest does not answer; its console says: %s", g.console.String())
}

// close ends the guest first: it holds the tap.
func (g *real) close() error {
	var err error
	if g.stop != nil {
		g.stop()
		if err = <-g.ended; errors.Is(err, context.Canceled) {
			err = nil
		}
	}
	if g.tap != nil {
		err = errors.Join(err, g.tap.Close())
	}
	return errors.Join(err, g.site.close())
}

// A console takes what the guest prints.
type console struct {
	lock sync.Mutex
	text bytes.Buffer
}

func (c *console) Write(p []byte) (int, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	return c.text.Write(p)
}

func (c *console) String() string {
	c.lock.Lock()
	defer c.lock.Unlock()
	return c.text.String()
}
