package offload

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Lighten moves the check of a device out of its qdisc clsact to where the kernel asks
// it for less than half the time (Linux 6.6; see tcx.go), and reports whether it did.
// Both stand for a moment, and each frame passes at least one. What the check counted
// before is lost, and the device has room for the qdisc ingress from then on.
//
// The kernel takes some 10 ms for it, during which nobody else can change a network
// device of the host: it is for when nothing else is to be done, and for one device
// at a time. There is nothing to do where this very version does not stand in a
// qdisc, or where the device has programs of the newer kind already: who may not look
// at them cannot tell whether they are the check.
func Lighten(ifindex int) (bool, error) {
	heavy, err := findClsact(ifindex)
	if err != nil || !heavy.current() {
		return false, err
	}
	light, err := findTCX(ifindex)
	if err != nil || !light.tcx || light.count > 0 {
		return false, err
	}
	program, err := newProgram()
	if err != nil {
		return false, explained(err)
	}
	err = errors.Join(light.replaceTCX(program), unix.Close(program))
	if errors.Is(err, unix.ESTALE) {
		return false, nil // somebody else has changed the device's programs since
	}
	if err != nil {
		return false, explained(err)
	}
	return true, heavy.removeClsact()
}
