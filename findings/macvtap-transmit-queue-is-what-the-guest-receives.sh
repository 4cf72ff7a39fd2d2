#!/usr/bin/env bash
# txqueuelen of a macvtap device is how many frames may wait for the guest, that is, the length of what it *receives*: with
# 3, three of a burst of 40 frames arrive. With 0, which elsewhere means that there is no queue, the guest gets nothing at
# all, for good, while the device is up, has its carrier, and sends what the guest sends. vishvananda/netlink writes that 0
# where LinkAttrs is a literal: its field TxQLen is sent unless it is negative, which only NewLinkAttrs makes it.
#
# Why it matters: 0 is what tuning guides set on virtual devices, and what a Go program makes that gives a name and a parent
# and no more. Nothing fails; the frames are counted as received and dropped, on the host.
#
# Source: Linux drivers/net/tap.c (tap_open and tap_queue_resize make the ring of dev->tx_queue_len, tap_handle_frame drops what
# it does not take), include/linux/ptr_ring.h (__ptr_ring_produce); vishvananda/netlink's link.go (NewLinkAttrs).
# Needs root, a kernel with macvtap, devtmpfs on /dev, iproute2, go and its module proxy.
set -euo pipefail

if [ "${1-}" != inside ]; then
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  cat >"$dir/main.go" <<'GO'
package main

import (
	"encoding/binary"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	burst = 40
	kind  = 0x88b5 // for experiments (IEEE 802)
)

var (
	guest = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	wire  = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

func main() {
	plain := netlink.NewLinkAttrs()
	made := device(plain)
	file := open(made)
	ordinary := received(file)
	seen := []int{ordinary}
	for _, length := range []int{3, 0} {
		check(netlink.LinkSetTxQLen(made, length))
		seen = append(seen, received(file))
	}
	sent := arrives(file)
	check(unix.Close(file))
	check(netlink.LinkDel(made))

	literal := open(device(netlink.LinkAttrs{}))
	seen = append(seen, received(literal))

	fmt.Printf("expected: %d frames of %d, whatever the length of the queue to transmit\n", burst, burst)
	fmt.Printf("seen:     by default %d; with 3, %d; with 0, %d (what the guest sends arrives: %t); LinkAttrs as a literal, %d\n",
		seen[0], seen[1], seen[2], sent, seen[3])
	if seen[0] != burst || seen[1] != 3 || seen[2] != 0 || !sent || seen[3] != 0 {
		os.Exit(1)
	}
}

// device makes the macvtap device "guest" on "parent". Its index is one that no device of another namespace has, since
// /dev/tapN is one for all of them.
func device(attrs netlink.LinkAttrs) netlink.Link {
	parent, err := netlink.LinkByName("parent")
	check(err)
	attrs.Name, attrs.ParentIndex, attrs.HardwareAddr = "guest", parent.Attrs().Index, guest
	attrs.Index = 3000000 + os.Getpid()
	check(netlink.LinkAdd(&netlink.Macvtap{Macvlan: netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}}))
	made, err := netlink.LinkByName("guest")
	check(err)
	check(netlink.LinkSetUp(made))
	return made
}

func open(link netlink.Link) int {
	file, err := unix.Open(fmt.Sprintf("/dev/tap%d", link.Attrs().Index), unix.O_RDWR|unix.O_NONBLOCK, 0)
	check(err)
	request, err := unix.NewIfreq("guest")
	check(err)
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	check(unix.IoctlIfreq(file, unix.TUNSETIFF, request))
	return file
}

// onWire gives a socket on the other end of the guest's parent.
func onWire() int {
	device, err := net.InterfaceByName("wire")
	check(err)
	network := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, kind))
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	check(err)
	check(unix.Bind(socket, &unix.SockaddrLinklayer{Protocol: network, Ifindex: device.Index}))
	return socket
}

func frame(to, from net.HardwareAddr) []byte {
	frame := binary.BigEndian.AppendUint16(append(append([]byte{}, to...), from...), kind)
	return append(frame, make([]byte, 46)...)
}

// received sends the burst and counts what of it can be read then.
func received(file int) int {
	socket, before := onWire(), counted()
	for range burst {
		_, err := unix.Write(socket, frame(guest, wire))
		check(err)
	}
	for end := time.Now().Add(10 * time.Second); counted() < before+burst; {
		if time.Now().After(end) {
			log.Fatal("the burst does not come to the device")
		}
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond)
	check(unix.Close(socket))
	buffer, n := make([]byte, 2048), 0
	for {
		if _, err := unix.Read(file, buffer); err != nil {
			return n
		}
		if binary.BigEndian.Uint16(buffer[12:]) == kind {
			n++
		}
	}
}

// counted gives how many frames the host counts as received by the guest's device.
func counted() uint64 {
	link, err := netlink.LinkByName("guest")
	check(err)
	return link.Attrs().Statistics.RxPackets
}

// arrives says whether a frame from the guest comes out at the wire.
func arrives(file int) bool {
	socket := onWire()
	defer unix.Close(socket)
	_, err := unix.Write(file, frame(wire, guest))
	check(err)
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(socket), Events: unix.POLLIN}}, 5000)
	check(err)
	return n == 1
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
GO
  (
    cd "$dir"
    go mod init finding 2>/dev/null
    timeout 120 go get github.com/vishvananda/netlink@v1.3.1 golang.org/x/sys@v0.49.0 2>/dev/null
    go list -m github.com/vishvananda/netlink
    timeout 120 go build -o queue .
  )
  timeout 60 unshare -n "$0" inside "$dir"
  exit
fi

echo "Linux $(uname -r)"
sysctl -qw net.ipv6.conf.default.disable_ipv6=1
ip link add parent type veth peer name wire address 02:00:00:00:00:02
ip link set parent up
ip link set wire up
"$2/queue"
echo "          and the host counts for the guest's device: $(ip -s -o link show guest | sed -E 's/.*RX: *bytes packets errors dropped[^\\]*\\ *[0-9]+ +([0-9]+) +[0-9]+ +([0-9]+) .*/received \1, dropped \2/')"
