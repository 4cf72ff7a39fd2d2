package hypervisor

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"

	"macvtap-filter/internal/lab"
)

// A run makes fewer macvtap devices than this.
const indexRoom = 100

// taken are the numbers from which this process has made hypervisors count.
var taken struct {
	sync.Mutex
	from []int
}

// take reserves a range of device numbers if no other hypervisor has one of it, and no device.
func take(from int) bool {
	taken.Lock()
	defer taken.Unlock()
	for _, other := range taken.from {
		if from < other+indexRoom && other < from+indexRoom {
			return false
		}
	}
	if !unused(from, indexRoom) {
		return false
	}
	taken.from = append(taken.from, from)
	return true
}

// HighIndexes makes the kernel number the namespace's devices from somewhere high, and returns where that is: nobody else's
// number. A macvtap's file is /dev/tapN with N the device's index, and all namespaces share /dev: low numbers are
// anybody's. Libvirt asks for no number, and the kernel gives the one after the last it gave, so devices are made and
// thrown away.
func HighIndexes(ns *lab.Namespace) (from int, err error) {
	const pairs = 250 // of devices, which take two numbers
	for range 20 {
		var add strings.Builder
		for i := range pairs + rand.IntN(pairs) {
			fmt.Fprintf(&add, "link add a%d group 7 type veth peer name b%d group 7\n", i, i)
		}
		last, err := addAndDelete(ns, add.String())
		if err != nil {
			return 0, fmt.Errorf("count device numbers up: %w", err)
		}
		if take(last) {
			return last, nil
		}
	}
	return 0, errors.New("no free range of device numbers below /dev/tap*")
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
	nodes, _ := filepath.Glob("/dev/tap*") // fails on a malformed pattern only
	for _, path := range nodes {
		var n int
		if _, err := fmt.Sscanf(filepath.Base(path), "tap%d", &n); err == nil && n >= from && n < from+room {
			return false
		}
	}
	return true
}
