package leaks

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/lab"
)

// peers are whom a VM's policy lets it talk to, and whom not.
type peers struct{ denied, allowed netip.Addr }

// A session is one VM that sends without pause, and a LAN that sends to it: in each
// slot a frame that is denied and one that is allowed, in each direction. It begins
// with the device, before that is up.
type session struct {
	site *site
	id   uint32
	tap  *lab.Tap

	frames atomic.Pointer[[kinds][]byte]
	lease  atomic.Pointer[[]byte]       // the VM's, which its server sends again in each slot
	up     struct{ begun, done uint32 } // the slots in which the device came up
	since  atomic.Uint32                // the first slot that counts

	// What happened, told while it does.
	slot atomic.Uint32        // the one that is sent
	last [kinds]atomic.Uint32 // the latest that arrived, plus one

	ending atomic.Bool
	ended  chan error

	// at are the times of the slots, since began.
	began time.Time
	at    []time.Duration

	arrivals [kinds]struct {
		sync.Mutex
		slots []uint32
	}
}

var lastSession atomic.Uint32

// begin starts to send on a tap that is open.
func (s *site) begin(tap *lab.Tap, p peers) *session {
	v := &session{site: s, id: lastSession.Add(1), tap: tap, began: time.Now(), ended: make(chan error, 1)}
	v.talk(p)
	s.counter.follow(v)
	go func() { v.ended <- v.run() }()
	return v
}

// talk has the VM, as the MAC address of its tap is now, and its peers send frames
// of other addresses from the next slot on.
func (v *session) talk(p peers) {
	var frames [kinds][]byte
	for k := range kinds {
		peer := p.allowed
		if k.denied() {
			peer = p.denied
		}
		frames[k] = template(k, v.tap.MAC, peer)
	}
	lease := leaseFor(v.site.t, v.tap.MAC)
	v.lease.Store(&lease)
	v.frames.Store(&frames)
}

func (v *session) run() error {
	// The kernel keeps frames in order on one processor. The thread ends with
	// this goroutine.
	runtime.LockOSThread()
	if err := stayOnProcessor(); err != nil {
		return err
	}
	for slot := uint32(0); !v.ending.Load(); slot++ {
		v.at = append(v.at, time.Since(v.began))
		if err := v.hear(*v.lease.Load()); err != nil {
			return err
		}
		for k, frame := range v.frames.Load() {
			if err := v.send(identity{v.id, kind(k), slot}, frame); err != nil {
				return err
			}
		}
		v.slot.Store(slot + 1)
		if err := v.receive(); err != nil {
			return err
		}
	}
	if err := v.site.settle(); err != nil {
		return err
	}
	return errors.Join(v.receive(), v.site.counter.drain())
}

func (v *session) send(id identity, frame []byte) error {
	id.put(frame)
	if !id.kind.out() {
		return v.hear(frame)
	}
	err := v.tap.Send(frame)
	// What the kernel says of a device that is down or gone.
	return ignore(err, unix.EIO, unix.ENETDOWN, unix.ENODEV, unix.EBADFD, unix.ENOBUFS)
}

// hear sends a frame to the VM.
func (v *session) hear(frame []byte) error {
	_, err := unix.Write(v.site.toVM, frame)
	return ignore(err, unix.ENOBUFS, unix.ENETDOWN)
}

func ignore(err error, those ...error) error {
	for _, e := range those {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}

// receive takes what has come to the VM.
func (v *session) receive() error {
	for {
		frame, err := v.tap.Receive(0)
		if errors.Is(err, lab.ErrTimeout) || errors.Is(err, unix.EBADFD) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive as the VM: %w", err)
		}
		if id, ok := identify(frame); ok && id.session == v.id {
			v.arrived(id)
		}
	}
}

func (v *session) arrived(id identity) {
	a := &v.arrivals[id.kind]
	a.Lock()
	a.slots = append(a.slots, id.slot)
	a.Unlock()
	v.last[id.kind].Store(id.slot + 1)
}

// sent waits until some more slots were sent.
func (v *session) sent(slots uint32) error {
	end := v.slot.Load() + slots
	return until(fmt.Sprintf("%s sends", v.tap.Name), func() bool { return v.slot.Load() >= end })
}

// calm is how many slots in a row all must be right to be taken for right.
const calm = 100

// right waits until denied frames arrive no more, and allowed ones do.
func (v *session) right() error {
	start := v.slot.Load()
	return until(fmt.Sprintf("%s is closed to denied frames and open to allowed ones", v.tap.Name), func() bool {
		wrong := max(start, v.last[deniedOut].Load(), v.last[deniedIn].Load())
		return min(v.last[allowedOut].Load(), v.last[allowedIn].Load()) > wrong+calm
	})
}

// end stops sending, as a guest does that is killed, and gives what is known of
// every slot.
func (v *session) end() (*record, error) {
	v.ending.Store(true)
	err := <-v.ended
	v.site.counter.forget(v)
	arrived := make([][kinds]bool, len(v.at))
	for k := range kinds {
		for _, slot := range v.arrivals[k].slots {
			arrived[slot][k] = true
		}
	}
	since := v.since.Load()
	r := &record{
		at: v.at[since:], arrived: arrived[since:],
		up: max(v.up.begun, since) - since, passes: max(v.up.done, since) - since,
	}
	return r, errors.Join(err, v.tap.Close())
}

// bound ends what hangs, and decides nothing else: however busy the machine is, what
// should happen takes less.
const bound = 5 * time.Minute

// until waits for what should happen.
func until(what string, happened func() bool) error {
	for end := time.Now().Add(bound); !happened(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			return fmt.Errorf("not within %s: %s", bound, what)
		}
	}
	return nil
}

func stayOnProcessor() error {
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return err
	}
	var candidates []int
	for cpu := range 1024 {
		if all.IsSet(cpu) {
			candidates = append(candidates, cpu)
		}
	}
	one.Set(candidates[int(lastSession.Load())%len(candidates)])
	return unix.SchedSetaffinity(0, &one)
}

// forget has what happened until now be none of the record.
func (v *session) forget() { v.since.Store(v.slot.Load()) }
