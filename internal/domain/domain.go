// Package domain reads libvirt's domain XML, as far as the filter needs it: who
// the VM is and which direct interfaces it has.
package domain

import (
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/beevik/etree"
)

// MaxSize bounds a domain XML in bytes. It is libvirt's own bound on a string it
// sends over its socket (libvirt's src/remote/remote_protocol.x,
// REMOTE_STRING_MAX), so no real domain's XML is larger.
const MaxSize = 4 << 20

// maxDepth bounds how deep elements nest. It is the bound of libvirt's own reader
// (libxml2's xmlParserMaxDepth). A disk's snapshots are <backingStore> in
// <backingStore>, of which libvirt takes 200.
const maxDepth = 256

// A Domain is a virtual machine as libvirt describes it.
type Domain struct {
	Name   string
	UUID   string      // in lower case with hyphens; "" when the XML has none
	Direct []Interface // its direct interfaces, in the XML's order
	Others []Other     // its other interfaces, which nothing here is about

	// Choice is what the domain's <metadata> asks of the filter, nil for
	// nothing. Whether it gets that is the configuration's to say.
	Choice *Choice

	// Addresses are those that rules had learned of the VM, which watch keeps in its
	// <metadata>; nil for none. Whether any is taken is the rules' to say.
	Addresses *Addresses

	notes []string // what of the XML counts for nothing, as Complete tells
}

// UnknownUUID stands for the UUID of a VM of which nothing is known but its device.
const UnknownUUID = "unknown"

// Unknown gives a domain of which nothing is known but one interface.
func Unknown(i Interface) *Domain {
	return &Domain{Name: "?", UUID: UnknownUUID, Direct: []Interface{i}}
}

// deviceUUID begins what stands for the UUID of the VM of a macvtap device that libvirt has no
// VM for. No UUID and no device's name has its last sign.
const deviceUUID = "device/"

// Device gives what stands for the domain of a macvtap device that libvirt has no VM for, by
// the interface that it is.
func Device(i Interface) *Domain {
	return &Domain{Name: i.Target, UUID: deviceUUID + i.Target, Direct: []Interface{i}}
}

// IsDevice reports whether what stands for a VM's UUID is a device's.
func IsDevice(uuid string) bool { return strings.HasPrefix(uuid, deviceUUID) }

// OfVM reports whether a UUID is that of a VM which libvirt has: neither a device's nor that
// of one of which nothing is known.
func OfVM(uuid string) bool { return uuid != "" && uuid != UnknownUUID && !IsDevice(uuid) }

// VM gives the name of the VM, "" for what stands for a device's.
func (d *Domain) VM() string {
	if IsDevice(d.UUID) {
		return ""
	}
	return d.Name
}

// Namespace is the XML namespace of the element in <metadata> by which a domain
// carries its own choice, so that it moves with the VM:
//
//	<metadata>
//	  <mvf:filter xmlns:mvf="urn:macvtap-filter:1" policy="dmz">
//	    <mvf:allow>192.168.2.9 tcp/8000</mvf:allow>
//	  </mvf:filter>
//	</metadata>
const Namespace = "urn:macvtap-filter:1"

// A Choice names a policy, "" for the configured one, and adds allow entries.
type Choice struct {
	Policy string
	Allow  []string
	Err    error // what of it is not understood; it counts only where it is honoured
}

// An Interface is one <interface type='direct'>: a macvtap device.
type Interface struct {
	Number int              // its place among all of the domain's interfaces, from 1
	Target string           // the macvtap device, "" while the VM is shut off
	Parent string           // the NIC it sits on, <source dev>
	MAC    net.HardwareAddr // nil when the XML has none

	// Index is the device's interface index, 0 where nobody looked at it, and DeviceMAC
	// the MAC address that it has.
	Index     int
	DeviceMAC net.HardwareAddr

	// TrustGuest is trustGuestRxFilters='yes': the guest may change the
	// device's MAC address.
	TrustGuest bool

	// Foreign says that libvirt did not make the device: Adopt found it.
	Foreign bool
}

// An Other is an <interface> of another type, such as bridge or hostdev.
type Other struct {
	Number int
	Type   string
	Target string           // its device, if it has one
	MAC    net.HardwareAddr // nil when the XML has none, or one that is none

	// Unmanaged is managed='no': libvirt takes a device that is there, which may be a
	// macvtap (type 'ethernet' only).
	Unmanaged bool
}

// String names the interface as messages do: by its device, or else by its
// place in the XML.
func (i Interface) String() string {
	if i.Target != "" {
		return fmt.Sprintf("interface %q", i.Target)
	}
	return fmt.Sprintf("interface %d", i.Number)
}

// An Error says what is wrong with a domain XML.
type Error struct {
	VM   string // "" when the XML was not read as far as the name
	Line int    // 0 where it is not known
	Err  error
}

// Error names the VM as far as it is known.
func (e *Error) Error() string {
	if e.VM == "" {
		return "domain XML: " + e.Err.Error()
	}
	return fmt.Sprintf("VM %q: domain XML: %v", e.VM, e.Err)
}

// Unwrap gives what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// Parse reads one domain XML to its end. Its errors are of type *Error.
func Parse(r io.Reader) (*Domain, error) {
	root, err := parseRoot(r)
	if err != nil {
		return nil, &Error{Line: lineOf(err), Err: err}
	}
	d := &Domain{}
	if d.Name = text(d.first(root, "name")); d.Name == "" {
		return nil, &Error{Err: errors.New("<domain> has no <name>")}
	}
	if d.UUID, err = parseUUID(text(d.first(root, "uuid"))); err != nil {
		return nil, &Error{VM: d.Name, Err: err}
	}
	if err := d.parseInterfaces(root); err != nil {
		return nil, &Error{VM: d.Name, Err: err}
	}
	d.Choice = parseChoice(root)
	d.Addresses = parseAddresses(root)
	return d, nil
}

// lineOf gives the line that an error is on, 0 where it says none.
func lineOf(err error) int {
	var syntax *xml.SyntaxError
	var declaration *declarationError
	switch {
	case errors.As(err, &syntax):
		return syntax.Line
	case errors.As(err, &declaration):
		return declaration.line
	}
	return 0
}

func parseRoot(r io.Reader) (*etree.Element, error) {
	doc := etree.NewDocument()
	doc.ReadSettings.MaxDepth = maxDepth
	limited := &io.LimitedReader{R: r, N: MaxSize + 1}
	all, defaults, err := readDoctype(limited, &doc.ReadSettings)
	if err == nil {
		_, err = doc.ReadFrom(all)
	}
	if limited.N <= 0 {
		return nil, fmt.Errorf("larger than %d MiB, which no libvirt sends", MaxSize>>20)
	}
	roots := doc.ChildElements()
	switch {
	case errors.Is(err, etree.ErrXML):
		return nil, errors.New("it ends in the middle, or its elements do not match")
	case errors.Is(err, etree.ErrMaxDepth):
		return nil, fmt.Errorf("elements nest deeper than %d", maxDepth)
	case err != nil:
		return nil, err
	case len(roots) == 0:
		return nil, errors.New("it has no <domain>")
	case len(roots) > 1:
		return nil, fmt.Errorf("%d roots, want one <domain>", len(roots))
	case roots[0].Tag != "domain": // in whatever namespace, as libvirt has it
		return nil, fmt.Errorf("the root is <%s>, want <domain>", roots[0].FullTag())
	case strayText(doc):
		return nil, errors.New("text before or after <domain>")
	}
	if len(defaults) > 0 {
		room := MaxSize
		err = defaults.apply(roots[0], &room)
	}
	return roots[0], err
}

// strayText reports text outside of the root, which XML forbids and the decoder
// lets pass; a byte order mark is none.
func strayText(doc *etree.Document) bool {
	return slices.ContainsFunc(doc.Child, func(t etree.Token) bool {
		text, ok := t.(*etree.CharData)
		return ok && strings.Trim(text.Data, "\ufeff \t\r\n") != ""
	})
}

// parseInterfaces looks only at /domain/devices/interface: what <metadata>
// holds is somebody else's.
func (d *Domain) parseInterfaces(root *etree.Element) error {
	number := 0
	for _, list := range children(root, "devices") {
		for _, e := range children(list, "interface") {
			number++
			i, direct, err := d.parseInterface(e, number)
			if err != nil {
				return err
			}
			if !direct {
				d.Others = append(d.Others, d.parseOther(e, i))
				continue
			}
			d.Direct = append(d.Direct, i)
		}
	}
	return nil
}

// parseInterface reports whether the interface is a direct one, and reads it.
// One of type 'network' is direct when its source names a device: so libvirt
// writes a network of macvtap kind in a running domain's XML.
func (d *Domain) parseInterface(e *etree.Element, number int) (i Interface, direct bool, err error) {
	i = Interface{Number: number}
	i.Parent = attribute(d.first(e, "source"), "dev")
	i.Target = attribute(d.first(e, "target"), "dev")
	switch attribute(e, "type") {
	case "direct":
	case "network":
		if i.Parent == "" {
			return i, false, nil
		}
	default:
		return i, false, nil
	}
	if i.Parent == "" {
		return i, false, fmt.Errorf("%s: type='direct' without <source dev='…'>", i)
	}
	i.TrustGuest = attribute(e, "trustGuestRxFilters") == "yes"
	if i.MAC, err = d.parseMAC(e); err != nil {
		return i, false, fmt.Errorf("%s: %w", i, err)
	}
	return i, true, nil
}

func (d *Domain) parseOther(e *etree.Element, i Interface) Other {
	target := children(e, "target")
	mac, _ := d.parseMAC(e)
	return Other{
		Number: i.Number, Type: attribute(e, "type"), Target: i.Target, MAC: mac,
		Unmanaged: len(target) > 0 && attribute(target[0], "managed") == "no",
	}
}

// parseMAC gives an interface's own MAC address, nil for none. What currentAddress says,
// since libvirt 11.2, is what the guest asked for.
func (d *Domain) parseMAC(e *etree.Element) (net.HardwareAddr, error) {
	mac := d.first(e, "mac")
	if mac == nil || mac.SelectAttr("address") == nil {
		return nil, nil
	}
	return ParseMAC(attribute(mac, "address"))
}

// ParseMAC reads a MAC address as libvirt does: six bytes of one or two hexadecimal
// digits with colons between them; what follows a blank does not count (src/util/virmacaddr.c,
// virMacAddrParse). No interface has a group's (virDomainNetDefParseXML).
func ParseMAC(written string) (net.HardwareAddr, error) {
	address, _, _ := strings.Cut(written, " ")
	fields := strings.Split(address, ":")
	mac := make(net.HardwareAddr, 6)
	if len(fields) != len(mac) {
		return nil, fmt.Errorf("%q is no MAC address", written)
	}
	for n, field := range fields {
		b, err := hex.DecodeString(("00" + field)[len(field):])
		if field == "" || len(field) > 2 || err != nil {
			return nil, fmt.Errorf("%q is no MAC address", written)
		}
		mac[n] = b[0]
	}
	if mac[0]&1 != 0 {
		return nil, fmt.Errorf("%q is a group's MAC address, which no interface has", written)
	}
	return mac, nil
}

// is reports whether the element has that name in no namespace, where libvirt's
// own elements are.
func is(e *etree.Element, tag string) bool {
	return e.Tag == tag && e.Space == "" && e.NamespaceURI() == ""
}

func children(e *etree.Element, tag string) []*etree.Element {
	var out []*etree.Element
	for _, c := range e.ChildElements() {
		if is(c, tag) {
			out = append(out, c)
		}
	}
	return out
}

// first gives the first child of that name, nil when there is none. That is the one that
// libvirt reads; the others are noted.
func (d *Domain) first(e *etree.Element, tag string) *etree.Element {
	all := children(e, tag)
	if len(all) == 0 {
		return nil
	}
	if len(all) > 1 {
		d.notes = append(d.notes, fmt.Sprintf("%d <%s> elements in one <%s>: libvirt takes the first", len(all), tag, e.Tag))
	}
	return all[0]
}

// text gives all of an element's text, that of elements in it included, "" for no
// element: XPath's string(), by which libvirt reads.
func text(e *etree.Element) string {
	if e == nil {
		return ""
	}
	var out strings.Builder
	for _, token := range e.Child {
		switch t := token.(type) {
		case *etree.CharData:
			out.WriteString(t.Data)
		case *etree.Element:
			out.WriteString(text(t))
		}
	}
	return out.String()
}

// attribute gives an attribute's value, "" for none. libvirt heeds no namespace there
// (libxml2's xmlGetProp). The decoder leaves line ends as they are, which XML makes blanks of.
func attribute(e *etree.Element, key string) string {
	if e == nil {
		return ""
	}
	for _, a := range e.Attr {
		if a.Key == key && a.Space != "xmlns" {
			return blanks.Replace(a.Value)
		}
	}
	return ""
}

// parseUUID gives a UUID as libvirt writes it, and "" for none. What people write
// may have hyphens and blanks between any two bytes or none, capital letters, and white
// space around (libvirt's src/util/viruuid.c, virUUIDParse).
func parseUUID(written string) (string, error) {
	if written == "" {
		return "", nil
	}
	bad := fmt.Errorf("%q is no UUID", written)
	var b []byte
	rest := strings.Trim(written, whiteSpace)
	for len(b) < 16 {
		rest = strings.TrimLeft(rest, "- ")
		if len(rest) < 2 {
			return "", bad
		}
		next, err := hex.DecodeString(rest[:2])
		if err != nil {
			return "", bad
		}
		b, rest = append(b, next...), rest[2:]
	}
	if rest != "" {
		return "", bad
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}

// whiteSpace is what C's isspace takes for it.
const whiteSpace = " \t\n\v\f\r"
