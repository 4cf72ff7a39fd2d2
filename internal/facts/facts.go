// Package facts holds what is read off a host to give a policy's words their
// addresses, and its JSON form, in which it travels to a machine that renders
// rules without the host.
package facts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// Facts are what a host knows of the network at one parent.
type Facts struct {
	Parent    string         `json:"parent"`          // the NIC's name
	Names     []string       `json:"names,omitempty"` // its alternative names
	Gateway   []netip.Addr   `json:"gateway"`         // routers of the default routes
	DNS       []netip.Addr   `json:"dns"`             // name servers, not those on the host itself
	Broadcast []netip.Addr   `json:"broadcast"`       // IPv4 broadcast addresses
	OnLink    []netip.Prefix `json:"onlink"`          // prefixes reached without a router
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
		if f.Parent == "" {
			return nil, errors.New("facts: an object names no \"parent\"")
		}
		all = append(all, f)
	}
}
