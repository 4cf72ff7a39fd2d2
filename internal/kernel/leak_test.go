package kernel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/ruleset"
)

// A flood sends to and from a VM without pause: frames that its rules deny, and
// frames of the internet.
type flood struct {
	n    *lab.Network
	tap  *lab.Tap
	wire *lab.Wire

	denied, internet [2][]byte // from the VM and to it
	sent             [2]atomic.Int64
	sending          sync.RWMutex // who looks at what passed holds them up
	stop             chan struct{}
	group            sync.WaitGroup
}

// startFlood opens the VM's side of a device and begins to send before the device
// is up.
func startFlood(t *testing.T, n *lab.Network, tap *lab.Tap) *flood {
	t.Helper()
	wire, err := n.Wire()
	if err != nil {
		t.Fatal(err)
	}
	if err := tap.Open(); err != nil {
		t.Fatal(err)
	}
	from, to := out, in
	from.src, to.dst = tap.MAC, tap.MAC
	f := &flood{
		n: n, tap: tap, wire: wire, stop: make(chan struct{}),
		denied:   [2][]byte{from.udp(t, "192.168.2.77", 53), to.udp(t, "192.168.2.77", 53)},
		internet: [2][]byte{from.udp(t, "192.0.2.1", 53), to.udp(t, "192.0.2.1", 53)},
	}
	for way, send := range []func([]byte) error{tap.Send, wire.Send} {
		f.group.Go(func() {
			for {
				select {
				case <-f.stop:
					return
				default:
				}
				f.sending.RLock()
				// A device that is down may refuse them.
				if send(f.denied[way]) == nil && send(f.internet[way]) == nil {
					f.sent[way].Add(1)
				}
				f.sending.RUnlock()
			}
		})
	}
	return f
}

// more waits until more frames were sent each way.
func (f *flood) more(t *testing.T, frames int64) {
	t.Helper()
	end := time.Now().Add(bound)
	for way := range f.sent {
		for start := f.sent[way].Load(); f.sent[way].Load() < start+frames; {
			if time.Now().After(end) {
				t.Fatalf("%s: only %d frames sent ", f.tap.Name, f.sent[way].Load()-start)
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
}

// passed says which frames got through, each way.
type passed struct{ denied, internet [2]int }

// seen takes what got through since it was last asked. Nobody sends meanwhile: on a fast
// machine it would never be done.
func (f *flood) seen(t *testing.T) passed {
	t.Helper()
	f.sending.Lock()
	defer f.sending.Unlock()
	return f.look(t)
}

// at does something while nobody sends and the queues are empty: what passes then is not
// dropped for want of room.
func (f *flood) at(t *testing.T, do func()) (leaked int) {
	t.Helper()
	f.sending.Lock()
	defer f.sending.Unlock()
	p := f.look(t)
	do()
	return p.denied[0] + p.denied[1]
}

func (f *flood) look(t *testing.T) (p passed) {
	t.Helper()
	for way, drain := range []func() ([][]byte, error){f.wire.Drain, f.tap.Drain} {
		frames, err := drain()
		if err != nil {
			t.Fatal(err)
		}
		for _, frame := range frames {
			switch {
			case bytes.Equal(frame, f.denied[way]):
				p.denied[way]++
			case bytes.Equal(frame, f.internet[way]):
				p.internet[way]++
			}
		}
	}
	return p
}

// resumes waits until frames of the internet pass both ways, and counts the denied
// ones that passed meanwhile.
func (f *flood) resumes(t *testing.T) (leaked int) {
	t.Helper()
	return f.until(t, func(p passed) [2]int { return p.internet })
}

// leaks waits until denied frames pass both ways. One look may find none where frames of the
// internet had filled the queues before.
func (f *flood) leaks(t *testing.T) {
	t.Helper()
	f.until(t, func(p passed) [2]int { return p.denied })
}

// until waits until frames of a kind pass both ways, and counts the denied ones that passed
// meanwhile.
func (f *flood) until(t *testing.T, of func(passed) [2]int) (leaked int) {
	t.Helper()
	end := time.Now().Add(bound)
	var passes [2]bool
	for !passes[0] || !passes[1] {
		if time.Now().After(end) {
			t.Fatalf("%s: nothing passes: from the VM %t, to it %t", f.tap.Name, passes[0], passes[1])
		}
		p := f.seen(t)
		leaked += p.denied[0] + p.denied[1]
		for way, frames := range of(p) {
			passes[way] = passes[way] || frames > 0
		}
		time.Sleep(100 * time.Microsecond)
	}
	return leaked
}

// end stops to send and counts the denied frames that passed since the last look.
func (f *flood) end(t *testing.T) (leaked int) {
	t.Helper()
	close(f.stop)
	f.group.Wait()
	if err := f.n.Settle(); err != nil {
		t.Fatal(err)
	}
	p := f.seen(t)
	return p.denied[0] + p.denied[1]
}

func newMacvtap(t *testing.T, n *lab.Network, name string) *lab.Tap {
	t.Helper()
	tap, err := n.AddMacvtap(name, vmMAC)
	if err != nil {
		t.Fatal(err)
	}
	return tap
}

// plug makes a device that is up while its VM sends and is sent to, makes its rules
// after so many frames each way, and unplugs it. It gives the frames that passed
// though they are denied, and all that passed before there were rules.
func plug(t *testing.T, n *lab.Network, name string) (leaked, early int) {
	t.Helper()
	tap := newMacvtap(t, n, name)
	f := startFlood(t, n, tap)
	if err := tap.Up(); err != nil {
		t.Fatal(err)
	}
	f.more(t, 20)
	before := f.seen(t)
	early = before.denied[0] + before.denied[1] + before.internet[0] + before.internet[1]
	create(t, n.Hypervisor, guarded(t, vmUUID, tap))
	leaked = before.denied[0] + before.denied[1] + f.resumes(t)
	leaked += f.end(t)
	if err := tap.Delete(); err != nil {
		t.Fatal(err)
	}
	return leaked, early
}

// Devices that are plugged in leak until somebody makes their rules, unless there
// is a guard: then not one frame.
func testPlug(t *testing.T) {
	for _, guarding := range []bool{false, true} {
		n, err := lab.New(lab.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Close() })
		if guarding {
			raise(t, n.Hypervisor, guard)
		}
		rounds, open, leaked, early := plugs(t), 0, 0, 0
		if !guarding {
			rounds = 3
		}
		for i := range rounds {
			l, e := plug(t, n, fmt.Sprintf("macvtap%d", i))
			leaked, early = leaked+l, early+e
			if e > 0 {
				open++
			}
			remove(t, n.Hypervisor, owned(vmUUID))
		}
		t.Logf("guard %t: %d devices, %d open at first, %d denied frames leaked", guarding, rounds, open, leaked)
		if guarding && leaked+early > 0 {
			t.Errorf("with a guard %d denied frames leaked, and %d frames passed before there were rules", leaked, early)
		}
		if !guarding && open == 0 {
			t.Error("without a guard nothing leaked: the test shows nothing")
		}
	}
}

// plugs is how many devices are plugged in: few, or as a soak says.
func plugs(t *testing.T) int {
	t.Helper()
	text := os.Getenv("MACVTAP_FILTER_PLUGS")
	if text == "" {
		return 10
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("MACVTAP_FILTER_PLUGS: %v", err)
	}
	return n
}

// A device that takes a dead one's name is not judged by its rules: what remains of
// these lets nothing pass, with a guard and without. Rules that are not bound to the
// device do.
func testRecycledName(t *testing.T) {
	for _, guarding := range []bool{false, true} {
		n, err := lab.New(lab.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Close() })
		if guarding {
			raise(t, n.Hypervisor, guard)
		}
		recycle := func(made func(*lab.Tap)) (passedNow int) {
			t.Helper()
			dead := newMacvtap(t, n, "macvtap0")
			made(dead)
			if err := dead.Delete(); err != nil {
				t.Fatal(err)
			}
			stands(t, n.Hypervisor, "macvtap-filter-macvtap0") // it outlives its device
			tap := newMacvtap(t, n, "macvtap0")
			f := startFlood(t, n, tap)
			if err := tap.Up(); err != nil {
				t.Fatal(err)
			}
			f.more(t, 50)
			close(f.stop)
			f.group.Wait()
			if err := n.Settle(); err != nil {
				t.Fatal(err)
			}
			p := f.seen(t)
			passedNow = p.denied[0] + p.denied[1] + p.internet[0] + p.internet[1]
			f.stop = make(chan struct{})
			create(t, n.Hypervisor, guarded(t, otherUUID, tap))
			filters(t, n, tap)
			if err := tap.Delete(); err != nil {
				t.Fatal(err)
			}
			remove(t, n.Hypervisor, owned(otherUUID))
			return passedNow
		}
		bind := func(dead *lab.Tap) { create(t, n.Hypervisor, guarded(t, vmUUID, dead)) }
		unbound := recycle(func(dead *lab.Tap) {
			bind(dead)
			for _, chain := range []string{"from-vm-macvtap0", "to-vm-macvtap0"} {
				listed := nft(t, n.Hypervisor, "", "--handle", "list", "chain", "netdev", ruleset.RulesTable, chain)
				asks := regexp.MustCompile(`goto drop-(?:from|to)-vm-stale-device .*# handle (\d+)`).FindStringSubmatch(listed)
				if asks == nil {
					t.Fatalf("no rule asks for the device:\n%s", listed)
				}
				nft(t, n.Hypervisor, "", "delete", "rule", "netdev", ruleset.RulesTable, chain, "handle", asks[1])
			}
		})
		if unbound == 0 {
			t.Error("a dead VM's rules that are anyone's let nothing pass: the test shows nothing")
		}
		if bound := recycle(bind); bound > 0 {
			t.Errorf("guard %t: %d frames passed by a dead VM's rules", guarding, bound)
		}
	}
}

// While a guard is owned, a flush of all rules opens nothing. Without one it does.
func testFlush(t *testing.T) {
	n, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	tap := newMacvtap(t, n, "macvtap0")
	create(t, n.Hypervisor, guarded(t, vmUUID, tap))
	f := startFlood(t, n, tap)
	if err := tap.Up(); err != nil {
		t.Fatal(err)
	}
	f.resumes(t)
	nft(t, n.Hypervisor, "", "flush", "ruleset")
	f.leaks(t) // or the test shows nothing
	create(t, n.Hypervisor, guarded(t, vmUUID, tap))
	f.resumes(t)
	own(t, n.Hypervisor)
	f.seen(t)
	f.more(t, 20) // what was under way
	f.seen(t)
	leaked := 0
	for range 8 {
		leaked += f.at(t, func() { nft(t, n.Hypervisor, "", "flush", "ruleset") })
		f.more(t, 20)
		stands(t, n.Hypervisor)
		create(t, n.Hypervisor, guarded(t, vmUUID, tap))
		leaked += f.resumes(t)
	}
	if leaked += f.end(t); leaked > 0 {
		t.Errorf("%d denied frames leaked", leaked)
	}
}

// Two VMs on one host: a frame between them is judged by both, and what the sender's
// rules accept does not open the receiver.
func testBetween(t *testing.T) {
	n, sender := network(t)
	receiver := addTap(t, n, "macvtap1", otherMAC)
	raise(t, n.Hypervisor, guard)
	const anyNextHop = "next_hop = \"any\"\n"                                     // the receiver is no router
	frame := way{"from the VM", sender.MAC, receiver.MAC}.udp(t, "192.0.2.1", 53) // the internet's, both say
	crosses := func(want bool, when string) {
		t.Helper()
		if got, err := n.BetweenVMs(sender, receiver, frame); err != nil || got != want {
			t.Errorf("%s: the frame arrives: %t (%v), want %t", when, got, err, want)
		}
	}
	crosses(false, "no rules")
	create(t, n.Hypervisor, guarded(t, vmUUID, sender, anyNextHop))
	filters(t, n, sender)
	crosses(false, "the sender's rules")
	create(t, n.Hypervisor, guarded(t, otherUUID, receiver, anyNextHop))
	crosses(true, "both VMs' rules")
	replace(t, n.Hypervisor, nil, owned(vmUUID))
	crosses(false, "the receiver's rules")
}

// What the guard has let pass has no mark for those behind it.
func testMarkIsTakenOff(t *testing.T) {
	n, tap := network(t)
	raise(t, n.Hypervisor, guard)
	create(t, n.Hypervisor, guarded(t, vmUUID, tap))
	nft(t, n.Hypervisor, "table netdev other { chain out { type filter hook egress device "+n.Parent+" priority 0; meta mark != 0 drop; }; }\n", "-f", "-")
	filters(t, n, tap)
}

// Interfaces that no policy is for pass a guard by rules that open them, and only
// the very device.
func testOpenTable(t *testing.T) {
	n, tap := network(t)
	raise(t, n.Hypervisor, guard)
	d := vm(vmUUID, tap.Name)
	open, err := filter.Open(d, d.Direct[0])
	if err != nil {
		t.Fatal(err)
	}
	for index, want := range map[int]bool{tap.Index: true, tap.Index + 1: false} {
		replace(t, n.Hypervisor, []ruleset.Table{filter.Mark(open).Bind(index)}, owned(vmUUID))
		passes(t, n, tap, "192.0.2.1", want)
		passes(t, n, tap, "192.168.2.77", want)
	}
}

// Rules are put in place and removed by many at once beside a guard that an owner
// keeps, and one that nobody does.
func testMany(t *testing.T) {
	for _, ownedGuard := range []bool{false, true} {
		n, tap := network(t)
		if ownedGuard {
			own(t, n.Hypervisor)
		}
		const many = 30
		var group sync.WaitGroup
		for i := range many {
			group.Go(func() {
				uuid := fmt.Sprintf("0d3f7c1e-5b2a-4c61-9e0f-%012x", i)
				d := vm(uuid, fmt.Sprintf("macvtap%d", 100+i))
				made := tables(t, d, "[policy.default]\noffload = \"pass\"") // without devices
				for j := range made {
					made[j] = filter.Mark(made[j]).Bind(1<<20 + i)
				}
				err := within(t, n.Hypervisor, func(ctx context.Context) error {
					if err := kernel.RaiseGuard(ctx, guard); err != nil && !errors.Is(err, kernel.ErrGuardOwned) {
						return err
					}
					if err := kernel.Create(ctx, made); err != nil {
						return err
					}
					if err := kernel.Replace(ctx, made, owned(uuid)); err != nil {
						return err
					}
					if i%2 == 0 {
						_, err := kernel.Remove(ctx, owned(uuid))
						return err
					}
					return nil
				})
				if err != nil {
					t.Errorf("VM %d: %v", i, err)
				}
			})
		}
		create(t, n.Hypervisor, guarded(t, vmUUID, tap))
		group.Wait()
		if got := len(standing(t, n.Hypervisor)); got != many/2+1 {
			t.Errorf("%d tables, want %d", got, many/2+1)
		}
		if found, standing := lookGuard(t, n.Hypervisor); !standing || (found.Owner != 0) != ownedGuard {
			t.Errorf("the guard: %+v, %t", found, standing)
		}
		filters(t, n, tap)
	}
}
