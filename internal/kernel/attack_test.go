package kernel_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/gopacket/gopacket/layers"

	"macvtap-filter/internal/attack"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/offload"
	"macvtap-filter/internal/ruleset"
)

// site is the test network as the attacks see it.
func site() attack.Site {
	link := netip.MustParseAddr("fe80::")
	gateway := net.HardwareAddr{0x02, 0, 0, 0, 0x02, 0x01}
	return attack.Site{
		VM: attack.Host{
			MAC: vmMAC, IPv4: netip.MustParseAddr("192.168.2.100"),
			Link: attack.EUI64(link, vmMAC), IPv6: attack.EUI64(netip.MustParseAddr("2001:db8:2::"), vmMAC),
		},
		Gateway: attack.Host{
			MAC: gateway, IPv4: netip.MustParseAddr("192.168.2.1"),
			Link: netip.MustParseAddr("fe80::1"), IPv6: netip.MustParseAddr("2001:db8:2::1"),
		},
		DNS: attack.Host{MAC: net.HardwareAddr{0x02, 0, 0, 0, 0x02, 0x35}, IPv4: netip.MustParseAddr("192.168.2.53")},
		Victim: attack.Host{
			MAC: lanMAC, IPv4: netip.MustParseAddr("192.168.2.77"),
			Link: netip.MustParseAddr("fe80::77"), IPv6: netip.MustParseAddr("2001:db8:2::77"),
		},
		LAN: netip.MustParsePrefix("192.168.2.0/24"),
		Web: attack.Host{MAC: gateway, IPv4: netip.MustParseAddr("192.0.2.1"), IPv6: netip.MustParseAddr("2001:db8:ffff::1")},
	}
}

func attacks(t testing.TB) []attack.Case { return cases(t, attack.Attacks) }

func misdelivered(t testing.TB) []attack.Case { return cases(t, attack.Misdelivered) }

func anothersName(t testing.TB) []attack.Case { return cases(t, attack.InAnothersName) }

func ordinary(t testing.TB) []attack.Case { return cases(t, attack.Ordinary) }

func cases(t testing.TB, list func(attack.Site) ([]attack.Case, error)) []attack.Case {
	t.Helper()
	all, err := list(site())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// arrivals sends a case's frames and counts those that arrive, or the host makes.
func arrivals(t testing.TB, n *lab.Network, tap *lab.Tap, c attack.Case) int {
	t.Helper()
	wire, err := n.Wire()
	if err != nil {
		t.Fatal(err)
	}
	send, frames := wire.Send, c.Frames
	switch {
	case len(c.Requests) > 0:
		send, frames = tap.SendRaw, c.Requests
	case c.Way == attack.FromVM:
		send = tap.Send
	}
	seen, err := n.Watch(func() error {
		for _, frame := range frames {
			if err := send(frame); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s, %s: %v", c.Name, c.Way, err)
	}
	arrived := 0
	for _, frame := range c.Frames {
		if c.Way == attack.FromVM && seen.OnWire(frame) || c.Way == attack.ToVM && seen.OnTap(tap, frame) {
			arrived++
		}
	}
	return arrived
}

// counters reads how many frames a tap's table has counted, by counter, and the
// check of offloads.
func counters(t testing.TB, ns *lab.Namespace, tap *lab.Tap) map[string]int {
	t.Helper()
	conn, err := nftables.New(nftables.WithNetNSFd(ns.FD()))
	if err != nil {
		t.Fatal(err)
	}
	objects, err := conn.GetObjects(&nftables.Table{Family: nftables.TableFamilyNetdev, Name: "macvtap-filter-" + tap.Name})
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]int{}
	for _, o := range objects {
		if o, ok := o.(*nftables.CounterObj); ok {
			counted[o.Name] = int(o.Packets)
		}
	}
	err = ns.Do(func() error {
		drops, err := offload.Drops(tap.Index)
		counted["from-vm-offload"] = int(drops)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return counted
}

// counter is the one of a reason's drops.
func counter(w attack.Way, reason string) string {
	if w == attack.FromVM {
		return "from-vm-" + reason
	}
	return "to-vm-" + reason
}

// dropped sends a case of which nothing must arrive, and looks for every frame of
// it under its reason.
func dropped(t *testing.T, n *lab.Network, tap *lab.Tap, c attack.Case) int {
	t.Helper()
	before := counters(t, n.Hypervisor, tap)
	arrived := arrivals(t, n, tap, c)
	if arrived > 0 {
		t.Errorf("%s, %s: %d of %d frames arrived", c.Name, c.Way, arrived, len(c.Frames))
	}
	after := counters(t, n.Hypervisor, tap)
	after["to-vm-ethertype"]-- // the frame that says when all have come out is of no kind that passes
	for _, reason := range []string{c.Reason, c.Also} {
		if name := counter(c.Way, reason); reason != "" && after[name]-before[name] == c.Sent() {
			return arrived
		}
	}
	for name, n := range after {
		if n > before[name] {
			t.Errorf("%s, %s: %s counted %d of %d frames, want them under %s", c.Name, c.Way, name, n-before[name], c.Sent(), c.Reason)
		}
	}
	return arrived
}

// TestAttacks sends every attack with no rules, when all of it arrives, where addresses are not
// learned, when none does, and under the default policy to a VM that has taken its addresses,
// when none does but what passLearned names.
func TestAttacks(t *testing.T) {
	n, tap := network(t)
	var rows []row
	for _, c := range attacks(t) {
		rows = append(rows, row{Case: c})
	}
	others := len(rows)
	for _, c := range misdelivered(t) {
		rows = append(rows, row{Case: c})
	}
	each := func(send func(*row)) {
		for i := range rows {
			if i == others {
				takes(t, n, tap, lanMAC)
			}
			send(&rows[i])
		}
		takes(t, n, tap, vmMAC)
	}
	each(func(r *row) {
		if r.without = arrivals(t, n, tap, r.Case); r.without != len(r.Frames) {
			t.Errorf("%s, %s, with no rules: %d of %d frames arrived", r.Name, r.Way, r.without, len(r.Frames))
		}
	})
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), notLearned))
	each(func(r *row) { dropped(t, n, tap, r.Case) })
	remove(t, n.Hypervisor, owned(vmUUID))
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), ""))
	owns(t, n, tap, false)
	// The gateway is heard of, and its address is none that the VM could ask for.
	gateway := in
	gateway.src = site().Gateway.MAC
	plays(t, n, tap, []step{hears("the gateway's advertisement", advertises(t, gateway, "fe80::1"))})
	each(func(r *row) {
		if r.with = arrivals(t, n, tap, r.Case); (r.with > 0) != passLearned[r.Name] {
			t.Errorf("%s, %s, to a VM that has taken its addresses: %d of %d frames arrived", r.Name, r.Way, r.with, len(r.Frames))
		}
	})
	onPages(t, rows)
}

// TestInAnothersName sends what poses as a denied host: with no rules, when all of it arrives,
// where addresses are not learned, when nearly all does, and under the default policy, when none
// does.
func TestInAnothersName(t *testing.T) {
	n, tap := network(t)
	var rows []impostor
	for _, c := range anothersName(t) {
		arrived := arrivals(t, n, tap, c)
		if arrived != len(c.Frames) {
			t.Errorf("%s, with no rules: %d of %d frames arrived", c.Name, arrived, len(c.Frames))
		}
		rows = append(rows, impostor{row: row{Case: c, without: arrived}})
	}
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), notLearned))
	for i, r := range rows {
		rows[i].off = arrivals(t, n, tap, r.Case)
	}
	remove(t, n.Hypervisor, owned(vmUUID))
	create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), ""))
	owns(t, n, tap, false)
	for i, r := range rows {
		rows[i].with = dropped(t, n, tap, r.Case)
	}
	namesOnPage(t, rows)
}

// takes gives the VM's device another MAC address, as its guest can have it done (libvirt's
// trustGuestRxFilters).
func takes(t *testing.T, n *lab.Network, tap *lab.Tap, mac net.HardwareAddr) {
	t.Helper()
	link, err := n.Hypervisor.Links().LinkByIndex(tap.Index)
	if err == nil {
		err = n.Hypervisor.Links().LinkSetHardwareAddr(link, mac)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestOrdinary sends what an ordinary VM sends and receives, where its addresses are not learned,
// and where rules have learned them from what it sent before, as by default: all of it arrives.
func TestOrdinary(t *testing.T) {
	for _, learn := range []string{"off", "dhcp", "first"} {
		t.Run(learn, func(t *testing.T) {
			n, tap := network(t)
			create(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), fmt.Sprintf("[policy.default]\nlearn = %q", learn)))
			if learn != "off" {
				owns(t, n, tap, learn == "dhcp")
			}
			passesOrdinary(t, n, tap, learn)
		})
	}
}

// passesOrdinary sends what is ordinary as a VM whose addresses are learned so.
func passesOrdinary(t *testing.T, n *lab.Network, tap *lab.Tap, learn string) {
	t.Helper()
	for _, c := range ordinary(t) {
		if strings.HasPrefix(c.Name, "DHCP release") && learn == "dhcp" {
			c.Frames = c.Frames[:2] // it has no address to speak from then
		}
		if arrived := arrivals(t, n, tap, c); arrived != len(c.Frames) {
			t.Errorf("%s, %s: %d of %d frames arrived", c.Name, c.Way, arrived, len(c.Frames))
		}
		if c.Way == attack.FromVM && strings.HasPrefix(c.Name, "probe for its own address with") && learn != "off" {
			time.Sleep(1500 * time.Millisecond) // another host that has the address comes too late
		}
		if learn == "dhcp" {
			plays(t, n, tap, []step{hears("the lease", leases(t, layers.DHCPMsgTypeAck, "192.168.2.1", site().VM.IPv4.String(), vmMAC))})
		}
	}
}

// TestLoadedByNft sends the attacks, and what is ordinary, through rules that nft loaded:
// of the text, of the JSON, and of its own list of the programmed ones, whatever its
// version lists. Checksum offload is none of nft's.
func TestLoadedByNft(t *testing.T) {
	load := map[string]func(*testing.T, *lab.Namespace, []ruleset.Table){
		"text": func(t *testing.T, ns *lab.Namespace, made []ruleset.Table) {
			nft(t, ns, ruleset.Text(made), "-f", "-")
		},
		"JSON": func(t *testing.T, ns *lab.Namespace, made []ruleset.Table) {
			text, err := ruleset.JSON(made)
			if err != nil {
				t.Fatal(err)
			}
			nft(t, ns, string(text), "--json", "-f", "-")
		},
		"list": func(t *testing.T, ns *lab.Namespace, made []ruleset.Table) {
			create(t, ns, made)
			listed := listing(t, ns)
			nft(t, ns, "", "flush", "ruleset")
			nft(t, ns, listed, "-f", "-")
		},
	}
	for name, load := range load {
		t.Run(name, func(t *testing.T) {
			n, tap := network(t)
			judged := slices.DeleteFunc(attacks(t), func(c attack.Case) bool { return c.Reason == "offload" })
			for _, c := range judged {
				if arrived := arrivals(t, n, tap, c); arrived != len(c.Frames) {
					t.Errorf("%s, %s, with no rules: %d of %d frames arrived", c.Name, c.Way, arrived, len(c.Frames))
				}
			}
			load(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), notLearned))
			for _, c := range judged {
				dropped(t, n, tap, c)
			}
			passesOrdinary(t, n, tap, "off")
			if name == "JSON" {
				return // it has no words for sets of raw bytes: its rules learn nothing
			}
			nft(t, n.Hypervisor, "", "flush", "ruleset")
			load(t, n.Hypervisor, tables(t, vm(vmUUID, tap.Name), ""))
			owns(t, n, tap, false)
			for _, c := range judged {
				if arrived := arrivals(t, n, tap, c); (arrived > 0) != passLearned[c.Name] {
					t.Errorf("%s, %s, to a VM that has taken its addresses: %d of %d frames arrived", c.Name, c.Way, arrived, len(c.Frames))
				}
			}
			passesOrdinary(t, n, tap, "first")
		})
	}
}
