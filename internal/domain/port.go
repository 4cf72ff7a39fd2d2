package domain

import (
	"encoding/xml"
	"fmt"
	"io"
	"net"
)

// A Port is where a VM's NIC meets a libvirt network, as the hook of networks is told before the
// NIC is there (https://libvirt.org/formatnetworkport.html). It names no device.
type Port struct {
	VM, UUID string
	MAC      net.HardwareAddr
	Parent   string
}

// ParsePort reads what libvirt gives the hook of networks. direct is false where the NIC is none
// of macvtap, as those of networks with a bridge.
func ParsePort(r io.Reader) (p Port, direct bool, err error) {
	var data struct {
		XMLName xml.Name `xml:"hookData"`
		Port    struct {
			Owner struct {
				Name string `xml:"name"`
				UUID string `xml:"uuid"`
			} `xml:"owner"`
			MAC struct {
				Address string `xml:"address,attr"`
			} `xml:"mac"`
			Plug struct {
				Type string `xml:"type,attr"`
				Dev  string `xml:"dev,attr"`
			} `xml:"plug"`
		} `xml:"networkport"`
	}
	if err := xml.NewDecoder(io.LimitReader(r, MaxSize)).Decode(&data); err != nil {
		return p, false, fmt.Errorf("its XML: %w", err)
	}
	port := data.Port
	if port.Plug.Type != "direct" {
		return p, false, nil
	}
	p = Port{VM: port.Owner.Name, UUID: port.Owner.UUID, Parent: port.Plug.Dev}
	p.MAC, err = net.ParseMAC(port.MAC.Address)
	switch {
	case err != nil || len(p.MAC) != 6:
		return p, true, fmt.Errorf("the port of the VM %q: %q is no MAC address", p.VM, port.MAC.Address)
	case p.Parent == "" || p.UUID == "":
		return p, true, fmt.Errorf("the port of the VM %q names no NIC, or no VM", p.VM)
	}
	return p, true, nil
}
