package hypervisor

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"

	"macvtap-filter/internal/lab"
)

// A run makes fewer macvtap devices than this.
const indexRoom = 100

// HighIndexes makes the kernel number the namespace's devices from somewhere high. A macvtap's file is /dev/tapN with N
// the device's index, and all namespaces share /dev: low numbers are anybody's. Libvirt asks for no number, and the
// kernel gives the one after the last it gave, so devices are made and thrown away.
func HighIndexes(ns *lab.Namespace) error {
	const pairs = 250 // of devices, which take two numbers
	for range 20 {
		var add strings.Builder
		for i := range pairs + rand.IntN(pairs) {
			fmt.Fprintf(&add, "link add a%d group 7 type veth peer name b%d group 7\n", i, i)
		}
		last, err := addAndDelete(ns, add.String())
		if err != nil {
			return fmt.Errorf("count device numbers up: %w", err)
		}
		if unused(last, indexRoom) {
			return nil
		}
	}
	return errors.New("no free range of device numbers below /dev/tap*")
}

// addAndDelete makes the devices of group 7 as the ip(8) commands say, deletes them, and returns their highest index.
func addAndDelete(ns *lab.Namespace, commands string) (last int, err error) {
	add := exec.Command("ip", "-batch", "-")
	add.Stdin = strings.NewReader(commands)
	var said bytes.Buffer
	add.Stderr = &said
	if err := ns.Run(add); err != nil {
		return 0, fmt.Errorf("ip: %w: %s", err, bytes.TrimSpace(said.Bytes()))
	}
	links, err := ns.Links().LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return 0, err
	}
	for _, link := range links {
		last = max(last, link.Attrs().Index)
	}
	// All at once: one after the other, each waits for the kernel to settle.
	return last, ns.Run(exec.Command("ip", "link", "delete", "group", "7"))
}

// unused tells whether nobody has a /dev/tapN with N in the range.
func unused(from, room int) bool {
	taken, _ := filepath.Glob("/dev/tap*") // fails on a malformed pattern only
	for _, path := range taken {
		var n int
		if _, err := fmt.Sscanf(filepath.Base(path), "tap%d", &n); err == nil && n >= from && n < from+room {
			return false
		}
	}
	return true
}
