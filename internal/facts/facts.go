// Package facts holds what is read off a host to give a policy's words their
// addresses, and its JSON form, in which it travels to a machine that renders
// rules without the host.
package facts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
)

// Facts are what a host knows of the network at one parent.
type Facts struct {
	Parent    string         `json:"parent"`          // the NIC's name
	Names     []string       `json:"names,omitempty"` // its alternative names
	Gateway   []netip.Addr   `json:"gateway"`         // routers of the default routes
	DNS       []netip.Addr   `json:"dns"`             // name servers, not those on the host itself
	Broadcast []netip.Addr   `json:"broadcast"`       // IPv4 broadcast addresses
	OnLink    []netip.Prefix `json:"onlink"`          // prefixes reached without a router

	Host []netip.Addr `json:"host,omitempty"` // the host's own addresses there

	GatewayMACs []MAC `json:"gateway_macs,omitempty"` // the gateways', as far as the host knows them
}

// Equal reports whether both say the same.
func (f Facts) Equal(g Facts) bool {
	return f.Parent == g.Parent && slices.Equal(f.Names, g.Names) &&
		slices.Equal(f.Gateway, g.Gateway) && slices.Equal(f.DNS, g.DNS) &&
		slices.Equal(f.Broadcast, g.Broadcast) && slices.Equal(f.OnLink, g.OnLink) && slices.Equal(f.Host, g.Host) &&
		slices.EqualFunc(f.GatewayMACs, g.GatewayMACs, func(a, b MAC) bool { return bytes.Equal(a, b) })
}

// Remember gives the facts with the gateways' MAC addresses of earlier ones, where none is
// known now of the same gateways: an idle host forgets them, and nothing has moved.
func (f Facts) Remember(earlier Facts) Facts {
	if len(f.GatewayMACs) == 0 && slices.Equal(f.Gateway, earlier.Gateway) {
		f.GatewayMACs = earlier.GatewayMACs
	}
	return f
}

// A MAC is a MAC address whose JSON is its usual text.
type MAC net.HardwareAddr

// MarshalText gives the address as "52:54:00:12:34:56".
func (m MAC) MarshalText() ([]byte, error) { return []byte(net.HardwareAddr(m).String()), nil }

// UnmarshalText reads a 48-bit address in any of net.ParseMAC's forms.
func (m *MAC) UnmarshalText(text []byte) error {
	hw, err := net.ParseMAC(string(text))
	if err != nil || len(hw) != 6 {
		return fmt.Errorf("%q is no MAC address", text)
	}
	*m = MAC(hw)
	return nil
}

// Write writes the facts as indented JSON.
func (f Facts) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(f)
}

// Read reads the facts of one or more parents, one JSON object after the other.
// A key it does not know is an error.
func Read(r io.Reader) ([]Facts, error) {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	var all []Facts
	for {
		var f Facts
		err := dec.Decode(&f)
		if errors.Is(err, io.EOF) && len(all) > 0 {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("facts: want the JSON that \"macvtap-filter facts PARENT\" prints: %w", err)
		}
		if err := f.check(); err != nil {
			return nil, fmt.Errorf("facts: %w", err)
		}
		all = append(all, f)
	}
}

// check reports what the JSON decoder lets pass: a parent without a name, and ""
// where an address should be.
func (f Facts) check() error {
	if f.Parent == "" {
		return errors.New("an object names no \"parent\"")
	}
	for _, a := range slices.Concat(f.Gateway, f.DNS, f.Broadcast) {
		if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
			return fmt.Errorf("parent %q: %q is no IPv4 or IPv6 address without a zone", f.Parent, a)
		}
	}
	for _, p := range f.OnLink {
		if !p.IsValid() || p.Addr().Is4In6() {
			return fmt.Errorf("parent %q: %q is no prefix", f.Parent, p)
		}
	}
	return nil
}
