package domain

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// AddressesNamespace is the XML namespace of the element in a running domain's <metadata> in
// which watch keeps the addresses that rules learned, so that they move with the VM. libvirt
// holds one element per namespace, and Namespace is the administrator's.
//
//	<mva:addresses xmlns:mva="urn:macvtap-filter:addresses:1">
//	  <mva:nic mac="52:54:00:00:00:01">
//	    <mva:address known="dhcp" until="2026-12-30T18:00:00Z">192.168.2.30</mva:address>
//	    <mva:address known="by hand">192.168.2.31</mva:address>
//	  </mva:nic>
//	</mva:addresses>
//
// It says until when an address is bound, not for how long: a VM may be saved for weeks, and
// what is said need not be said anew as time passes.
const (
	AddressesNamespace = "urn:macvtap-filter:addresses:1"
	AddressesPrefix    = "mva"
)

// MaxAddresses is how many addresses of one NIC are kept, and maxNICs of how many.
const (
	MaxAddresses = 64
	maxNICs      = 64
)

// Addresses are a VM's, as its <metadata> say.
type Addresses struct {
	NICs []NICAddresses
	Err  error // what is not understood; then there are none
}

// NICAddresses are those of one NIC.
type NICAddresses struct {
	MAC   net.HardwareAddr
	Bound []Bound
}

// A Bound is an address that rules took for the VM's own.
type Bound struct {
	netip.Addr
	Known string    // how it was known: "dhcp", "first", "probe" or "by hand"
	Until time.Time // in whole seconds; zero for as long as the VM runs
}

// Lapsed reports whether nobody bound the address any longer, at a time.
func (b Bound) Lapsed(now time.Time) bool { return !b.Until.IsZero() && !b.Until.After(now) }

// Of gives the addresses of the NIC of a MAC address.
func (a *Addresses) Of(mac net.HardwareAddr) []Bound {
	if a == nil {
		return nil
	}
	for _, n := range a.NICs {
		if bytes.Equal(n.MAC, mac) {
			return n.Bound
		}
	}
	return nil
}

// Element writes the addresses as libvirt takes them: it adds the namespace. It is "" where
// there are none.
func (a *Addresses) Element() string {
	if a == nil || len(a.NICs) == 0 {
		return ""
	}
	var out strings.Builder
	out.WriteString("<addresses>")
	for _, n := range a.NICs {
		fmt.Fprintf(&out, "<nic mac=\"%s\">", n.MAC)
		for _, b := range n.Bound {
			fmt.Fprintf(&out, "<address known=\"%s\"", b.Known)
			if !b.Until.IsZero() {
				fmt.Fprintf(&out, " until=\"%s\"", b.Until.UTC().Format(time.RFC3339))
			}
			fmt.Fprintf(&out, ">%s</address>", b.Addr)
		}
		out.WriteString("</nic>")
	}
	out.WriteString("</addresses>")
	return out.String()
}

// parseAddresses reads the addresses in the metadata, nil when there are none. It is strict: of
// what is not understood nothing is taken.
func parseAddresses(root *etree.Element) *Addresses {
	var found *Addresses
	for _, metadata := range children(root, "metadata") {
		for _, e := range metadata.ChildElements() {
			if e.NamespaceURI() != AddressesNamespace {
				continue
			}
			if found != nil {
				return &Addresses{Err: errors.New("metadata: two elements of learned addresses, want one <addresses>")}
			}
			found = &Addresses{}
			if err := found.read(e); err != nil {
				return &Addresses{Err: fmt.Errorf("metadata: %w", err)}
			}
		}
	}
	return found
}

func (a *Addresses) read(e *etree.Element) error {
	if e.Tag != "addresses" {
		return fmt.Errorf("<%s> is unknown in the namespace %s, want <addresses>", e.Tag, AddressesNamespace)
	}
	if _, err := attributesOf(e); err != nil {
		return err
	}
	nics := e.ChildElements()
	if len(nics) > maxNICs {
		return fmt.Errorf("<addresses> of %d NICs, want at most %d", len(nics), maxNICs)
	}
	for _, nic := range nics {
		n, err := readNIC(nic)
		if err != nil {
			return err
		}
		if a.Of(n.MAC) != nil {
			return fmt.Errorf("<nic mac=\"%s\"> twice", n.MAC)
		}
		a.NICs = append(a.NICs, n)
	}
	return nil
}

func readNIC(e *etree.Element) (n NICAddresses, err error) {
	given, err := attributesOf(e, "mac")
	if err != nil {
		return n, err
	}
	if e.NamespaceURI() != AddressesNamespace || e.Tag != "nic" {
		return n, fmt.Errorf("<%s> in <addresses>: want <nic>", e.FullTag())
	}
	if n.MAC, err = ParseMAC(given["mac"]); err != nil {
		return n, fmt.Errorf("<nic>: %w", err)
	}
	all := e.ChildElements()
	if len(all) == 0 || len(all) > MaxAddresses {
		return n, fmt.Errorf("<nic mac=\"%s\"> of %d addresses, want 1 to %d", n.MAC, len(all), MaxAddresses)
	}
	for _, address := range all {
		b, err := readBound(address)
		if err != nil {
			return n, err
		}
		if slices.ContainsFunc(n.Bound, func(other Bound) bool { return other.Addr == b.Addr }) {
			return n, fmt.Errorf("<address>%s</address> twice", b.Addr)
		}
		n.Bound = append(n.Bound, b)
	}
	return n, nil
}

func readBound(e *etree.Element) (b Bound, err error) {
	given, err := attributesOf(e, "known", "until")
	if err != nil {
		return b, err
	}
	if e.NamespaceURI() != AddressesNamespace || e.Tag != "address" || len(e.ChildElements()) > 0 {
		return b, fmt.Errorf("<%s> in <nic>: want <address>", e.FullTag())
	}
	if b.Addr, err = netip.ParseAddr(strings.TrimSpace(e.Text())); err != nil || b.Zone() != "" || b.Is4In6() {
		return b, fmt.Errorf("<address>: %q is no address", e.Text())
	}
	b.Known = given["known"]
	lasts := b.Known == "first" || b.Known == "by hand"
	if !lasts && b.Known != "dhcp" && b.Known != "probe" {
		return b, fmt.Errorf("<address known=%q>: want dhcp, first, probe or by hand", b.Known)
	}
	until, ends := given["until"]
	if ends == lasts {
		return b, fmt.Errorf("<address known=%q>: until=\"TIME\" is for dhcp and probe, which have one", b.Known)
	}
	if !ends {
		return b, nil
	}
	if b.Until, err = time.Parse(time.RFC3339, until); err != nil {
		return b, fmt.Errorf("<address until=%q>: want a time such as 2026-12-30T18:00:00Z", until)
	}
	b.Until = b.Until.UTC()
	return b, nil
}

// attributesOf gives an element's attributes, of which there are no others than these.
func attributesOf(e *etree.Element, names ...string) (map[string]string, error) {
	out := map[string]string{}
	for _, a := range e.Attr {
		switch {
		case a.Space == "xmlns" || a.Space == "" && a.Key == "xmlns":
		case a.Space == "" && slices.Contains(names, a.Key):
			out[a.Key] = a.Value
		default:
			return nil, fmt.Errorf("<%s %s=%q> is unknown", e.Tag, a.FullKey(), a.Value)
		}
	}
	return out, nil
}
