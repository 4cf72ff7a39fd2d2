package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"macvtap-filter/internal/lab"
)

// A vm is a guest: a small network stack over the frames of a tap device.
type vm struct {
	name   string
	uuid   string
	device string
	mac    net.HardwareAddr
	addr4  netip.Addr
	addr6  netip.Addr
	local6 netip.Addr
	scene  *scene
	tap    *lab.Tap

	quit    chan struct{} // closed to stop the stack; nil: it does not run
	stopped chan struct{} // closed when it has

	mu     sync.Mutex
	serial uint16
	waits  map[int]func(gopacket.Packet) bool
	nextID int
	failed error
}

// newVM gives the number'th VM of a scene. It has no device yet.
func newVM(name string, number int, s *scene) *vm {
	last := byte(101 + number)
	return &vm{
		name:   name,
		uuid:   fmt.Sprintf("5f3c9a10-7c1e-4c57-9a39-0000000000%02d", number+1),
		device: fmt.Sprintf("macvtap%d", number),
		mac:    net.HardwareAddr{0x52, 0x54, 0, 0, 0, last},
		addr4:  netip.AddrFrom4([4]byte{192, 168, 2, last}),
		addr6:  netip.MustParseAddr(fmt.Sprintf("2001:db8:2::%d", last)),
		local6: netip.MustParseAddr(fmt.Sprintf("fe80::%d", last)),
		scene:  s,
		waits:  make(map[int]func(gopacket.Packet) bool),
		serial: uint16(1000 * (number + 1)),
	}
}

// addresses gives all that the VM answers to.
func (v *vm) addresses() []netip.Addr { return []netip.Addr{v.addr4, v.addr6, v.local6} }

// source gives the address that the VM speaks from to another.
func (v *vm) source(to netip.Addr) netip.Addr {
	switch {
	case to.Is4():
		return v.addr4
	case to.IsLinkLocalUnicast() || to.IsLinkLocalMulticast():
		return v.local6
	default:
		return v.addr6
	}
}

// run starts the stack on the VM's tap.
func (v *vm) run() {
	v.quit, v.stopped = make(chan struct{}), make(chan struct{})
	go v.listen(v.quit, v.stopped)
}

// stop ends the stack, if it runs.
func (v *vm) stop() {
	if v.quit == nil {
		return
	}
	close(v.quit)
	<-v.stopped
	v.quit = nil
}

// tick is how soon a stopped stack notices.
const tick = 20 * time.Millisecond

func (v *vm) listen(quit, stopped chan struct{}) {
	defer close(stopped)
	for {
		select {
		case <-quit:
			return
		default:
		}
		frame, err := v.tap.Receive(tick)
		if errors.Is(err, lab.ErrTimeout) {
			continue
		}
		if err == nil {
			err = v.take(frame)
		}
		if err != nil {
			v.fail(err)
			return
		}
	}
}

// take does what a guest does with a frame, and shows it to those who wait.
func (v *vm) take(frame []byte) error {
	packet := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
	v.mu.Lock()
	for id, match := range v.waits {
		if match(packet) {
			delete(v.waits, id)
		}
	}
	v.mu.Unlock()
	reply, err := v.reply(packet)
	if err != nil || reply == nil {
		return err
	}
	return v.tap.Send(reply)
}

// expect gives a channel that is closed once a received packet matches, and a
// function that ends the wait.
func (v *vm) expect(match func(gopacket.Packet) bool) (<-chan struct{}, func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	came := make(chan struct{})
	id := v.nextID
	v.nextID++
	v.waits[id] = func(packet gopacket.Packet) bool {
		if !match(packet) {
			return false
		}
		close(came)
		return true
	}
	return came, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.waits, id)
	}
}

// number gives one that the VM has not used: a port, or the name of an echo.
func (v *vm) number() uint16 {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.serial++
	return 20000 + v.serial
}

func (v *vm) fail(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.failed == nil {
		v.failed = fmt.Errorf("VM %s: %w", v.name, err)
	}
}

func (v *vm) failure() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.failed
}
