package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"macvtap-filter/internal/lab"
)

// A probe tries one way for one VM, and reports whether it is open. A patient
// one waits long for an answer that should come.
type probe func(ctx context.Context, v *vm, patient bool) (bool, error)

// exchange sends a frame to an address until a packet from there matches.
func (v *vm) exchange(ctx context.Context, to netip.Addr, patient bool,
	build func(mac net.HardwareAddr) ([]byte, error), match func(gopacket.Packet) bool) (bool, error) {
	mac, err := v.resolve(ctx, hop(to), patient)
	if err != nil || mac == nil {
		return false, err
	}
	frame, err := build(mac)
	if err != nil {
		return false, err
	}
	came, done := v.expect(func(packet gopacket.Packet) bool {
		return sourceOf(packet) == to && match(packet)
	})
	defer done()
	return attempt(ctx, patienceOf(patient), came, func() error { return v.tap.Send(frame) })
}

func patienceOf(patient bool) time.Duration {
	if patient {
		return longPatience
	}
	return shortPatience
}

// ping asks an address for an echo.
func ping(to netip.Addr) probe {
	return func(ctx context.Context, v *vm, patient bool) (bool, error) {
		id := v.number()
		return v.exchange(ctx, to, patient,
			func(mac net.HardwareAddr) ([]byte, error) {
				return echo(v.mac, mac, v.source(to), to, false, id, 1, []byte("demo"))
			},
			func(packet gopacket.Packet) bool {
				reply, got, _, _, ok := echoOf(packet)
				return ok && reply && got == id
			})
	}
}

// pingOther asks the other VM for an echo.
func pingOther(ctx context.Context, v *vm, patient bool) (bool, error) {
	return ping(v.other().addr4)(ctx, v, patient)
}

// connect opens a TCP connection: whether it is accepted or refused, the host
// was reached.
func connect(to netip.Addr, port uint16) probe {
	return func(ctx context.Context, v *vm, patient bool) (bool, error) {
		own := v.number()
		return v.exchange(ctx, to, patient,
			func(mac net.HardwareAddr) ([]byte, error) {
				ethernet, ip := overIP(v.mac, mac, v.source(to), to, layers.IPProtocolTCP)
				tcp := &layers.TCP{SrcPort: layers.TCPPort(own), DstPort: layers.TCPPort(port), SYN: true, Window: 1024}
				if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
					return nil, err
				}
				return serialize(ethernet, ip, tcp)
			},
			func(packet gopacket.Packet) bool {
				tcp, ok := packet.Layer(layers.LayerTypeTCP).(*layers.TCP)
				return ok && uint16(tcp.DstPort) == own && (tcp.SYN && tcp.ACK || tcp.RST)
			})
	}
}

// lookUp asks a DNS server for a name.
func lookUp(server netip.Addr) probe {
	return func(ctx context.Context, v *vm, patient bool) (bool, error) {
		own := v.number()
		return v.exchange(ctx, server, patient,
			func(mac net.HardwareAddr) ([]byte, error) {
				return v.datagram(mac, server, own, portDNS, queryDNS(own))
			},
			func(packet gopacket.Packet) bool {
				udp, ok := packet.Layer(layers.LayerTypeUDP).(*layers.UDP)
				return ok && uint16(udp.DstPort) == own && isAnswerDNS(udp.Payload, own)
			})
	}
}

// noteTagged sends the LAN host a datagram in a frame with a VLAN tag of ID 0,
// which an ordinary Linux host takes off and delivers. It succeeds when the
// host's socket has received it.
func noteTagged(ctx context.Context, v *vm, patient bool) (bool, error) {
	mac, err := v.resolve(ctx, neighbour4, patient)
	if err != nil || mac == nil {
		return false, err
	}
	own := v.number()
	note := fmt.Appendf(nil, "%s %d", v.name, own)
	frame, err := v.datagram(mac, neighbour4, own, portNote, gopacket.Payload(note))
	if err != nil {
		return false, err
	}
	tagged := append([]byte{}, frame[:12]...)
	tagged = append(tagged, 0x81, 0, 0, 0)
	tagged = append(tagged, frame[12:]...)

	ctx, cancel := context.WithTimeout(ctx, patienceOf(patient))
	defer cancel()
	for ctx.Err() == nil {
		if err := v.tap.Send(tagged); err != nil {
			return false, err
		}
		for end := time.Now().Add(askAgain); time.Now().Before(end) && ctx.Err() == nil; { // decides nothing
			if v.scene.notes.has(note) {
				return true, nil
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return false, nil
}

// pinged has a host ping the VM, and succeeds when that reaches the VM.
func pinged(by func(*scene) *lab.Host, from netip.Addr, to func(*vm) netip.Addr) probe {
	return func(ctx context.Context, v *vm, patient bool) (bool, error) {
		host, target := by(v.scene), to(v)
		came, done := v.expect(func(packet gopacket.Packet) bool {
			reply, _, _, _, ok := echoOf(packet)
			return ok && !reply && sourceOf(packet) == from && destinationOf(packet) == target
		})
		defer done()
		return attempt(ctx, patienceOf(patient), came, func() error {
			_, err := host.Ping(target, time.Millisecond)
			return err
		})
	}
}

// datagram gives a UDP datagram's frame.
func (v *vm) datagram(mac net.HardwareAddr, to netip.Addr, from, port uint16, payload gopacket.SerializableLayer) ([]byte, error) {
	ethernet, ip := overIP(v.mac, mac, v.source(to), to, layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: layers.UDPPort(from), DstPort: layers.UDPPort(port)}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, err
	}
	return serialize(ethernet, ip, udp, payload)
}

// other gives the scene's other VM.
func (v *vm) other() *vm {
	for _, vm := range v.scene.vms {
		if vm != v {
			return vm
		}
	}
	return nil
}
