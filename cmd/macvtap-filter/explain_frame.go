package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"macvtap-filter/internal/frame"
	"macvtap-filter/internal/ruleset"
)

// frames are what is judged.
func (q question) frames(e ends) ([][]byte, error) {
	switch {
	case q.hex != "":
		f, err := frame.ParseHex(q.hex)
		return [][]byte{f}, err
	case q.pcap != "":
		file, err := os.Open(q.pcap)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		frames, err := frame.ReadPcap(file)
		if err == nil && len(frames) == 0 {
			err = errors.New("no frame in it")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", q.pcap, err)
		}
		return frames, nil
	}
	d, err := q.describe(e)
	if err != nil {
		return nil, err
	}
	f, err := d.Bytes()
	return [][]byte{f}, err
}

// describe turns the words into a description.
func (q question) describe(e ends) (frame.Description, error) {
	d := frame.Description{ARP: q.arp, VLAN: q.vlan, SourcePort: 40000}
	if q.fromPort != nil {
		d.SourcePort = *q.fromPort
	}
	if err := q.addresses(&d, e); err != nil {
		return d, err
	}
	d.SourceMAC, d.DestinationMAC = e.vm, e.peerMAC(d.Destination)
	if q.in {
		d.SourceMAC, d.DestinationMAC = e.peerMAC(d.Source), e.vm
	}
	if group := frame.GroupMAC(d); group != nil {
		d.DestinationMAC = group
	}
	for _, m := range []struct {
		text string
		mac  *net.HardwareAddr
	}{{q.toMAC, &d.DestinationMAC}, {q.fromMAC, &d.SourceMAC}} {
		if m.text == "" {
			continue
		}
		hw, err := net.ParseMAC(m.text)
		if err != nil || len(hw) != 6 {
			return d, fmt.Errorf("%q is no MAC address", m.text)
		}
		*m.mac = hw
	}
	return d, q.protocol(&d)
}

// addresses fills in both ends: the peer must be named, and the VM's own address
// is the configuration's when it is not.
func (q question) addresses(d *frame.Description, e ends) error {
	peer, own, flagName := q.to, q.from, "--to"
	if q.in {
		peer, own, flagName = q.from, q.to, "--from"
	}
	if peer == "" {
		return fmt.Errorf("say %s and an address, or give the frame with --hex or --pcap", flagName)
	}
	far, err := netip.ParseAddr(peer)
	if err != nil {
		return fmt.Errorf("%s: %q is no address", flagName, peer)
	}
	near := e.address(far)
	if own != "" {
		if near, err = netip.ParseAddr(own); err != nil {
			return fmt.Errorf("%q is no address", own)
		}
	}
	d.Source, d.Destination = near, far
	if q.in {
		d.Source, d.Destination = far, near
	}
	return nil
}

func (q question) protocol(d *frame.Description) error {
	kinds := 0
	for _, is := range []bool{q.tcp != nil, q.udp != nil, q.icmp, q.arp} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return errors.New("say one of --tcp PORT, --udp PORT, --icmp and --arp")
	case q.tcp != nil:
		d.Proto, d.Port = ruleset.TCP, *q.tcp
	case q.udp != nil:
		d.Proto, d.Port = ruleset.UDP, *q.udp
	case d.Destination.Is6():
		d.Proto = ruleset.ICMPv6
	default:
		d.Proto = ruleset.ICMP
	}
	return nil
}
