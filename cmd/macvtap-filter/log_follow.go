package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/drops"
	"macvtap-filter/internal/frame"
	"macvtap-filter/internal/host"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/libvirt"
	"macvtap-filter/internal/patience"
	"macvtap-filter/internal/plan"
	"macvtap-filter/internal/ruleset"
	"macvtap-filter/internal/status"
	"macvtap-filter/internal/why"
)

// updates is how often counters are read, and it is told how many more frames were dropped.
const updates = 3 * time.Second

// A dropFollower tells of drops as they happen.
type dropFollower struct {
	*dropLog
	config *config.Config
	hurt   context.CancelCauseFunc // ends it, since nobody reads any more

	mu         sync.Mutex // of all below, and of what is written
	sum        drops.Log
	interfaces map[string]status.Interface // by device
	askers     map[string]func(why.Verdict) string
	lost       bool // and it was said so
}

// follow tells of drops until it is interrupted, or its time is over.
func (l *dropLog) follow(ctx context.Context) error {
	c, err := config.Load(l.options.config)
	if err != nil {
		return badInput(err)
	}
	ctx, stop := signal.NotifyContext(context.WithoutCancel(ctx), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, hurt := context.WithCancelCause(ctx)
	defer hurt(nil)
	f := &dropFollower{dropLog: l, config: c, hurt: hurt, askers: map[string]func(why.Verdict) string{}}
	if err := f.update(true, false); err != nil {
		return err
	}
	until := "until Ctrl-C"
	if l.options.long > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.options.long)
		defer cancel()
		until = fmt.Sprintf("for %v, or until Ctrl-C", l.options.long)
	}
	notef(l.std, "following what is dropped, %s: %s", until, devicesInWords(f.devices()))
	return f.run(ctx)
}

func devicesInWords(devices []string) string {
	switch len(devices) {
	case 0:
		return "no interface has rules yet"
	case 1:
		return "1 interface"
	}
	return fmt.Sprintf("%d interfaces", len(devices))
}

// run traces and counts. Where other interfaces have rules than before, tracing begins anew.
func (f *dropFollower) run(ctx context.Context) error {
	tick := time.NewTicker(updates)
	defer tick.Stop()
	var t *tracing
	for {
		if devices := f.devices(); t == nil || !slices.Equal(t.devices, devices) {
			if err := t.end(); err != nil {
				return err
			}
			t = f.trace(ctx, devices)
		}
		select {
		case err := <-t.ended:
			t.ended <- nil // it is asked for again
			if ctx.Err() == nil && err != nil {
				return err
			}
			if ctx.Err() == nil { // a device is gone
				t.devices = nil
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		case <-tick.C:
		case <-ctx.Done():
		}
		over := ctx.Err() != nil
		if over {
			if err := t.end(); err != nil {
				return err
			}
			if cause := context.Cause(ctx); errors.Is(cause, unix.EPIPE) {
				return cause
			}
		}
		if err := f.update(false, over); err != nil || over {
			return err
		}
	}
}

// devices gives the devices that have rules, in order; not those that are gone.
func (f *dropFollower) devices() []string {
	var out []string
	for _, i := range f.interfaces {
		if i.Index != 0 {
			out = append(out, i.Device)
		}
	}
	slices.Sort(out)
	return out
}

// A tracing traces frames of some devices.
type tracing struct {
	devices []string
	cancel  context.CancelFunc
	ended   chan error // has room
}

// end ends it; of none there is nothing to end.
func (t *tracing) end() error {
	if t == nil {
		return nil
	}
	t.cancel()
	return <-t.ended
}

func (f *dropFollower) trace(ctx context.Context, devices []string) *tracing {
	ctx, cancel := context.WithCancel(ctx)
	t := &tracing{devices, cancel, make(chan error, 1)}
	var wishes []kernel.Wish
	for _, d := range devices {
		wishes = append(wishes, kernel.Wish{Device: d, Out: true, In: true, Any: kinds()})
	}
	go func() {
		defer cancel()
		if len(wishes) == 0 {
			<-ctx.Done()
			t.ended <- nil
			return
		}
		lost, err := kernel.Trace(ctx, wishes, func() {}, f.saw)
		if lost {
			f.tellLost()
		}
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
			err = nil // of a device that is gone since
		}
		t.ended <- err
	}()
	return t
}

// kinds are frames of which so many a second are traced each (kernel.TracedPerSecond): what is
// opened is seen beside any number of segments and datagrams that pass.
func kinds() [][]ruleset.Match {
	proto := func(n byte) ruleset.Match { return ruleset.Byte(ruleset.L4Proto, n) }
	const syn, ack = 0x02, 0x10
	opens := ruleset.Masked{Field: ruleset.TCPFlags, Mask: []byte{syn | ack}, Op: ruleset.Equal, Value: []byte{syn}}
	return [][]ruleset.Match{
		{proto(ruleset.TCP), opens}, {proto(ruleset.UDP)}, {proto(ruleset.ICMP)}, {proto(ruleset.ICMPv6)},
		{ruleset.Is(ruleset.EtherType, ruleset.EtherTypeARP)}, nil,
	}
}

func (f *dropFollower) tellLost() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.lost {
		notef(f.std, "there were more frames than the kernel could tell of: of some drops it is not said whose they are")
	}
	f.lost = true
}

// saw takes in a frame that was traced.
func (f *dropFollower) saw(t kernel.Traced) {
	v, _ := verdictOf(t)
	if v.Passes {
		return
	}
	of := drops.Counter{Device: t.Device, Out: t.Out, Reason: reasonOf(t, v)}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	r, tell := f.sum.Saw(drops.CauseOf(v, of), now)
	if !tell {
		return
	}
	i := f.interfaces[t.Device]
	said := line(now, i, r)
	said.Why, said.Frame = f.why(i, v), untold(frame.Words(t.Frame))
	if err := f.print(said, "dropped"); err != nil {
		f.hurt(err)
	}
}

// reasonOf is what a drop is counted under, or else, of no rules of ours, the chain that dropped it.
func reasonOf(t kernel.Traced, v why.Verdict) string {
	if _, reason, ok := strings.Cut(v.Rule.Counter, "-vm-"); ok {
		return reason
	}
	last := t.Steps[len(t.Steps)-1]
	return last.Table + " " + last.Chain
}

// update reads the counters, and tells how many more frames were dropped.
func (f *dropFollower) update(first, over bool) error {
	s, err := f.look(context.Background(), first)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	values := map[drops.Counter]uint64{}
	before := f.interfaces
	f.interfaces = map[string]status.Interface{}
	for _, i := range s.Interfaces {
		for of, d := range counters(i) {
			values[of] = d.Packets
			f.interfaces[i.Device] = i
		}
		if old := before[i.Device]; old.Index != i.Index || old.UUID != i.UUID || old.Policy != i.Policy {
			delete(f.askers, i.Device)
		}
	}
	f.sum.Counted(values)
	for _, r := range f.sum.Look(s.Time, over) {
		i, stands := f.interfaces[r.Device]
		if !stands {
			i = before[r.Device]
		}
		number := "%d more"
		if r.Peer+r.Service == "" {
			number += ", of others or not seen"
		}
		if err := f.print(line(s.Time, i, r), number); err != nil {
			return err
		}
	}
	return nil
}

// why names what decided, "" where that is not known.
func (f *dropFollower) why(i status.Interface, v why.Verdict) string {
	asks := f.askers[i.Device]
	if asks == nil {
		asker, err := f.asker(i)
		if err != nil {
			warningf(f.std, "%s: what in the configuration drops its frames is not known: %v", i.Device, err)
			asks = func(why.Verdict) string { return "" }
		} else {
			asks = asker.Reason
		}
		f.askers[i.Device] = asks
	}
	return asks(v)
}

// asker asks about the rules of an interface.
func (f *dropFollower) asker(of status.Interface) (why.Asker, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience.Status)
	defer cancel()
	d, err := f.domain(ctx, of)
	if err != nil {
		return why.Asker{}, err
	}
	d.Complete()
	h, err := host.Open(ctx)
	if err != nil {
		return why.Asker{}, err
	}
	defer h.Close()
	for _, i := range d.Direct {
		if i.Target == of.Device {
			return endsOf(f.config, d, i, plan.Remember(plan.Offline{Host: h})).asks(), nil
		}
	}
	return why.Asker{}, fmt.Errorf("VM %q: its XML does not have the device", d.Name)
}

// domain is whose rules they are.
func (f *dropFollower) domain(ctx context.Context, i status.Interface) (*domain.Domain, error) {
	if i.Section != "" || i.VM == "" {
		return ownDevice(ctx, f.config, i.Device)
	}
	client, err := libvirt.Dial(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return liveDomain(ctx, client, i.VM)
}
