package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"net"
	"text/template"
)

// A vm is a VM as libvirt tells a hook of it.
type vm struct {
	name string
	uuid string
	nics []nic
}

// A nic is one of a VM's NICs, and the macvtap device that libvirt made for it.
type nic struct {
	MAC    net.HardwareAddr
	Device string
}

// newVM makes up the VM with that number, with so many NICs.
func newVM(name string, number, nics int) vm {
	v := vm{name: name, uuid: fmt.Sprintf("4b1d2f6a-6c1d-4c5e-9d3b-%012x", number)}
	for i := range nics {
		v.nics = append(v.nics, nic{
			MAC:    net.HardwareAddr{0x52, 0x54, byte(i), byte(number >> 16), byte(number >> 8), byte(number)},
			Device: fmt.Sprintf("macvtap%d", number*8+i),
		})
	}
	return v
}

//go:embed domain.xml
var domainFile string

var domainTemplate = template.Must(template.New("domain").Parse(domainFile))

// running gives the VM's XML on a parent while it runs.
func (v vm) running(parent string) []byte { return v.xml(parent, v.nics) }

// stopped gives its XML when it has stopped: it names no device.
func (v vm) stopped(parent string) []byte {
	var nics []nic
	for _, n := range v.nics {
		nics = append(nics, nic{MAC: n.MAC})
	}
	return v.xml(parent, nics)
}

func (v vm) xml(parent string, nics []nic) []byte {
	var xml bytes.Buffer
	err := domainTemplate.Execute(&xml, struct {
		Name, UUID, Parent string
		NICs               []nic
	}{v.name, v.uuid, parent, nics})
	if err != nil {
		panic(err) // a buffer takes everything, and the template is our own
	}
	return xml.Bytes()
}
