#!/usr/bin/env bash
# Whoever opens /dev/tapN of a macvtap device gets a share of its frames, from the moment of open(2): no ioctl, no
# IFF_MULTI_QUEUE, no name. Each open file is a queue, and received flows are spread over the queues by their hash. A
# tun/tap device refuses a second file with EBUSY unless both ask for IFF_MULTI_QUEUE.
#
# Why it matters: a tool that opens the node to look (for a guest that runs) takes whole flows away from the guest, at
# random and without an error anywhere; a descriptor that leaks does so for good.
#
# Source: Linux drivers/net/tap.c (tap_open, tap_set_queue, tap_get_queue) against drivers/net/tun.c (tun_attach);
# Documentation/networking/tuntap.rst, "Multiqueue tuntap interface".
# Needs root, a kernel with macvtap and tun, iproute2, go (its standard library alone).
set -euo pipefail

if [ "${1-}" != inside ]; then
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  cat >"$dir/readers.go" <<'GO'
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"
)

const flows = 100

// main opens the macvtap device "guest" once and twice, and counts who gets how many of 100 flows from "wire".
func main() {
	device, err := net.InterfaceByName("guest")
	if err != nil {
		log.Fatal(err)
	}
	node := fmt.Sprintf("/dev/tap%d", device.Index)
	first := open(node)
	send("wire")
	alone := read(first)
	second := open(node)
	send("wire")
	a, b := read(first), read(second)
	if err := syscall.Close(second); err != nil {
		log.Fatal(err)
	}
	send("wire")
	after := read(first)

	tap := open("/dev/net/tun")
	if err := attach(tap); err != nil {
		log.Fatal("first file of a tap device: ", err)
	}
	busy := attach(open("/dev/net/tun"))

	fmt.Println("expected: the second open fails, or the first file gets all 100 flows until somebody asks for queues")
	fmt.Printf("seen, macvtap: one file %d; with a second one %d and %d; the second closed %d\n", alone, a, b, after)
	fmt.Printf("seen, tap:     a second file: %v\n", busy)
	if alone != flows || a+b != flows || a == 0 || b == 0 || after != flows || !errors.Is(busy, syscall.EBUSY) {
		os.Exit(1)
	}
}

func open(path string) int {
	file, err := syscall.Open(path, syscall.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		log.Fatal(path, ": ", err)
	}
	return file
}

// attach makes the file one of the tap device "plain", without asking for queues.
func attach(file int) error {
	var request [40]byte
	copy(request[:], "plain")
	binary.NativeEndian.PutUint16(request[16:], syscall.IFF_TAP|syscall.IFF_NO_PI)
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(file), syscall.TUNSETIFF, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}

// send sends one UDP datagram of each flow to the macvtap device's address.
func send(from string) {
	device, err := net.InterfaceByName(from)
	if err != nil {
		log.Fatal(err)
	}
	socket, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = syscall.Close(socket) }()
	frame := make([]byte, 60)
	copy(frame, []byte{2, 0, 0, 0, 0, 0x10, 2, 0, 0, 0, 0, 0x99, 8, 0})
	copy(frame[14:], []byte{0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 198, 51, 100, 2, 198, 51, 100, 1})
	copy(frame[38:], []byte{0, 8, 0, 0})
	for flow := range flows {
		binary.BigEndian.PutUint16(frame[34:], uint16(1000+flow))
		binary.BigEndian.PutUint16(frame[36:], 53)
		if err := syscall.Sendto(socket, frame, 0, &syscall.SockaddrLinklayer{Ifindex: device.Index}); err != nil {
			log.Fatal(err)
		}
	}
	time.Sleep(300 * time.Millisecond)
}

// read takes all frames that wait in the file.
func read(file int) int {
	frame := make([]byte, 4096)
	for n := 0; ; n++ {
		if _, err := syscall.Read(file, frame); err != nil {
			return n
		}
	}
}
GO
  (cd "$dir" && GO111MODULE=off timeout 120 go build -o readers readers.go)
  timeout 60 unshare -n "$0" inside "$dir"
  exit
fi

echo "Linux $(uname -r)"
sysctl -qw net.ipv6.conf.default.disable_ipv6=1 # no frames of its own
ip link add nic type veth peer name wire
# /dev/tapN has one name for all network namespaces: an index that no other device has.
ip link add link nic name guest index $((2000000 + $$)) address 02:00:00:00:00:10 type macvtap mode bridge
for device in nic wire guest; do ip link set "$device" up; done
"$2/readers"
