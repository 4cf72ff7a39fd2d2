package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"

	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/lab"
)

// The addresses of the site.
var (
	hypervisor4 = netip.MustParsePrefix("192.168.2.10/24")
	hypervisor6 = netip.MustParsePrefix("2001:db8:2::10/64")
	gateway4    = netip.MustParseAddr("192.168.2.1")
	gateway6    = netip.MustParseAddr("fe80::1")
	dns4        = netip.MustParseAddr("192.168.2.53")
	hidden4     = netip.MustParseAddr("192.168.2.77") // no ruleset allows it
	internet4   = netip.MustParseAddr("192.0.2.1")
	internet6   = netip.MustParseAddr("3fff:fff::1") // like most, not of the LAN's own provider
	vm4         = netip.MustParseAddr("192.168.2.201")
	vm6         = netip.MustParseAddr("2001:db8:2::201")

	lanMAC = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x01}
)

// A site is a hypervisor with its LAN, and no macvtap device yet.
type site struct {
	network *lab.Network
	folder  string // of its own, for what programs read

	log *net.UnixConn // takes what is logged

	textStands bool // the table textTable is there
}

func newSite() (*site, error) {
	s := new(site)
	if err := s.build(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *site) build() error {
	options := lab.Options{Addresses: []netip.Prefix{hypervisor4}, Gateways: []netip.Addr{gateway4}}
	if lab.HasIPv6() {
		options.Addresses = append(options.Addresses, hypervisor6)
		options.Gateways = append(options.Gateways, gateway6)
	}
	var err error
	if s.folder, err = os.MkdirTemp("", "bench-"); err != nil {
		return err
	}
	if s.network, err = lab.New(options); err != nil {
		return err
	}
	for _, gateway := range options.Gateways { // as a host that has spoken to its router
		if err := s.network.Hypervisor.SetNeighbour(s.network.Parent, gateway, lanMAC); err != nil {
			return err
		}
	}
	return errors.Join(s.isolate(), s.takeLog())
}

// isolate gives the hypervisor a resolv.conf of its own, and keeps the machine's
// log, its libvirt and its lock out of the reach of what runs there.
func (s *site) isolate() error {
	hypervisor := s.network.Hypervisor
	log, err := filepath.EvalSymlinks("/dev/log")
	if err == nil && !strings.HasPrefix(log, "/run/") {
		if err := hypervisor.Overlay(log, nil); err != nil {
			return err
		}
	}
	for _, folder := range []string{"/run", "/var/run"} {
		if err := hypervisor.Hide(folder); err != nil {
			return err
		}
	}
	return hypervisor.Overlay("/etc/resolv.conf", fmt.Appendf(nil, "nameserver %s\n", dns4))
}

// takeLog takes what hooks log, as a host's journal does (the Journal Native Protocol of
// systemd), and throws it away.
func (s *site) takeLog() error {
	address := &net.UnixAddr{Name: filepath.Join(s.folder, "journal"), Net: "unixgram"}
	var err error
	if s.log, err = net.ListenUnixgram(address.Net, address); err != nil {
		return err
	}
	go func() { _, _ = io.Copy(io.Discard, s.log) }() // until it is closed
	link := exec.Command("sh", "-ec", `mkdir -p /run/systemd/journal; ln -s "$0" /run/systemd/journal/socket`, address.Name)
	return s.network.Hypervisor.Run(link)
}

func (s *site) close() error {
	var errs []error
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	if s.network != nil {
		errs = append(errs, s.network.Close())
	}
	if s.folder != "" {
		errs = append(errs, os.RemoveAll(s.folder))
	}
	return errors.Join(errs...)
}

// firstIndex begins the interface indexes of devices that plug makes, below those of
// the lab: /dev is everybody's, and has a node by the index of each.
const firstIndex = 1 << 29

// plug makes the devices of VMs, down, as libvirt's start hook finds them. They go
// with the site's namespace, all at once.
func (s *site) plug(vms ...vm) error {
	links := s.network.Hypervisor.Links()
	parent, err := links.LinkByName(s.network.Parent)
	if err != nil {
		return err
	}
	for _, v := range vms {
		for _, n := range v.nics {
			attributes := netlink.NewLinkAttrs()
			attributes.Name, attributes.HardwareAddr = n.Device, n.MAC
			attributes.ParentIndex, attributes.Index = parent.Attrs().Index, nextIndex()
			device := &netlink.Macvtap{Macvlan: netlink.Macvlan{LinkAttrs: attributes, Mode: netlink.MACVLAN_MODE_BRIDGE}}
			if err := links.LinkAdd(device); err != nil {
				return fmt.Errorf("add %s: %w", n.Device, err)
			}
		}
	}
	return nil
}

var indexesTaken int

// nextIndex gives an index that is most likely nobody else's on the machine.
func nextIndex() int {
	indexesTaken++
	return firstIndex | os.Getpid()<<13&(firstIndex-1) | indexesTaken
}

// facts are what the hook reads off the hypervisor.
func (s *site) facts() facts.Facts {
	return facts.Facts{
		Parent:    s.network.Parent,
		Gateway:   []netip.Addr{gateway4, gateway6},
		DNS:       []netip.Addr{dns4},
		Broadcast: []netip.Addr{netip.MustParseAddr("192.168.2.255"), netip.MustParseAddr("255.255.255.255")},
		OnLink:    []netip.Prefix{hypervisor4.Masked(), hypervisor6.Masked()},

		GatewayMACs: []facts.MAC{facts.MAC(lanMAC)}, // the end of the wire has all addresses but the VMs'
	}
}

// file writes a file into the site's folder and gives its path.
func (s *site) file(name, content string, mode os.FileMode) (string, error) {
	path := filepath.Join(s.folder, name)
	return path, os.WriteFile(path, []byte(content), mode)
}

// hookPath is the PATH that libvirt's daemon usually has.
const hookPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// needPrograms reports programs that are missing, and the packages that have them.
func needPrograms(packages map[string]string) error {
	if err := os.Setenv("PATH", os.Getenv("PATH")+":"+hookPath); err != nil {
		return err
	}
	for name, from := range packages {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("the program %s is missing: apt-get install %s", name, from)
		}
	}
	return nil
}

// nft runs nft in the hypervisor.
func (s *site) nft(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "nft", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := s.network.Hypervisor.Run(cmd); err != nil {
		return "", fmt.Errorf("nft %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
