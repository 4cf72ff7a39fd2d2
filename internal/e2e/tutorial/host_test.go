//go:build e2e

package tutorial

import (
	_ "embed"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"macvtap-filter/internal/e2e/hypervisor"
	"macvtap-filter/internal/e2e/systemd"
	"macvtap-filter/internal/lab"
)

// unitPath is where a distribution's systemd looks, and where the machine's own units are.
const unitPath = "/etc/systemd/system:" + systemd.UnitFolder + ":/usr/lib/systemd/system"

//go:embed host.sh
var hostScript string

// A host is what the tutorial is typed on: a machine with libvirt on a LAN, where the VM called web runs.
type host struct {
	*systemd.Machine
	web *hypervisor.VM
}

// newHost makes the LAN of the tutorial, and the host and its VM as they are before its first line.
func newHost(t *testing.T) *host {
	t.Helper()
	network, err := lab.New(lab.Options{
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.2.10/24"), netip.MustParsePrefix("2001:db8:2::10/64")},
		Gateways:  []netip.Addr{netip.MustParseAddr("192.168.2.1"), netip.MustParseAddr("fe80::1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { failed(t, network.Close()) })
	router := addHost(t, network, "router", 0x01, "192.168.2.1/24", "fe80::1/64")
	nas := addHost(t, network, "nas", 0x77, "192.168.2.77/24")
	internet, err := network.AddBehind(router, "internet", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 0x99}, netip.MustParsePrefix("1.1.1.1/32"))
	if err != nil {
		t.Fatal(err)
	}
	serve(t, nas, "192.168.2.77:80", "Welcome to the NAS: 4 disks, 12 TB of family photos\n")
	serve(t, internet, "1.1.1.1:80", "Hello from the internet\n")

	if _, err := hypervisor.HighIndexes(network.Hypervisor); err != nil {
		t.Fatal(err)
	}
	h := new(host)
	h.Machine, err = systemd.Boot(network.Hypervisor, unitPath, hostScript, moduleRoot(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.halt(t) })
	h.run(t, "systemctl", "start", "libvirtd")
	h.addWeb(t, network.Parent)
	return h
}

func addHost(t *testing.T, network *lab.Network, name string, last byte, addresses ...string) *lab.Host {
	t.Helper()
	var prefixes []netip.Prefix
	for _, a := range addresses {
		prefixes = append(prefixes, netip.MustParsePrefix(a))
	}
	h, err := network.AddHost(name, net.HardwareAddr{0x52, 0x54, 0, 0, 0, last}, prefixes...)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// serve has a host answer HTTP with a page, as long as there is the network.
func serve(t *testing.T, h *lab.Host, at, page string) {
	t.Helper()
	listener, err := h.Listen(netip.MustParseAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		ReadHeaderTimeout: bound,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, page) }),
	}
	go func() { _ = server.Serve(listener) }() // until the network closes it
}

// addWeb starts the VM of the tutorial.
func (h *host) addWeb(t *testing.T, parent string) {
	t.Helper()
	hv := hypervisor.Of(h.Init())
	if err := os.MkdirAll(h.Path("/run/e2e"), 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	h.web, err = hv.Define(t.Context(), hypervisor.Spec{Name: "web", NICs: []hypervisor.NIC{{
		Name: "eth0", Type: "direct", Source: parent, Mistrusted: true, MAC: net.HardwareAddr{0x52, 0x54, 0, 0xe2, 0, 1},
		Addr4: netip.MustParsePrefix("192.168.2.110/24"), Gateway4: netip.MustParseAddr("192.168.2.1"),
		Addr6: netip.MustParsePrefix("2001:db8:2::110/64"), Gateway6: netip.MustParseAddr("fe80::1"),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.web.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// halt ends the host, and shows what it said if the test failed.
func (h *host) halt(t *testing.T) {
	if t.Failed() {
		out, _ := h.Command("sh", "-c", "nft list ruleset; journalctl --no-pager --output=short-monotonic").CombinedOutput()
		t.Logf("rules and journal:\n%s", out)
	}
	failed(t, h.Close())
	if t.Failed() {
		t.Logf("the console:\n%s", h.Console())
	}
}

// run runs a program on the host that must succeed, unseen by the reader of the tutorial.
func (h *host) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := h.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// expectClean fails if there is anything of the program's on the host.
func (h *host) expectClean(t *testing.T, when string) {
	t.Helper()
	const look = `command -v macvtap-filter
		ls -d /etc/macvtap-filter /etc/libvirt/hooks/qemu.d/* /usr/share/*/macvtap-filter /usr/lib/systemd/system/macvtap-filter-*
		ls /etc/systemd/system/*.wants/*
		dpkg-query -W macvtap-filter
		nft list tables`
	if out, _ := h.Command("sh", "-c", "{ "+look+"; } 2>/dev/null").Output(); len(out) > 0 {
		t.Errorf("%s there is something of ours on the host:\n%s", when, out)
	}
}

func failed(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// moduleRoot is the checkout.
func moduleRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}
