package leaks

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// overflow has the kernel tell so much of devices and of nftables that watch, which
// is stopped, loses some of both.
func (s *site) overflow() {
	s.t.Helper()
	var rules strings.Builder
	rules.WriteString("add table inet noise\ndelete table inet noise\ntable inet noise {\n\tchain noise {\n")
	for port := range 10_000 {
		fmt.Fprintf(&rules, "\t\ttcp dport %d accept\n", port+1)
	}
	rules.WriteString("\t}\n}\n")
	links := s.Hypervisor.Links()
	device, err := links.LinkByName("lo")
	s.must(err)
	linksBefore, rulesBefore := s.lost(unix.NETLINK_ROUTE), s.lost(unix.NETLINK_NETFILTER)
	s.must(until("messages are lost", func() bool {
		if s.lost(unix.NETLINK_ROUTE) == linksBefore {
			s.talkative(links, device)
			return false
		}
		if s.lost(unix.NETLINK_NETFILTER) == rulesBefore {
			s.nft(rules.String())
			return false
		}
		return true
	}))
	s.nft("delete table inet noise")
}

// talkative changes a device some hundred times.
func (s *site) talkative(links *netlink.Handle, device netlink.Link) {
	for i := range 300 {
		s.must(links.LinkSetTxQLen(device, 1000+i))
	}
}

// lost gives how many messages of a netlink family watch's subscription lost
// (proc(5), /proc/net/netlink).
func (s *site) lost(family int) (drops int) {
	s.t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/net/netlink", s.watch.pid()))
	s.must(err)
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var socket, groups string
		var of, port, read, written, dump, locks, lost int
		_, err := fmt.Sscanf(lines.Text(), "%s %d %d %s %d %d %d %d %d", &socket, &of, &port, &groups, &read, &written, &dump, &locks, &lost)
		if err == nil && of == family && strings.Trim(groups, "0") != "" {
			drops += lost
		}
	}
	return drops
}
