package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"

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

	vmMAC  = net.HardwareAddr{0x52, 0x54, 0x00, 0x6a, 0x10, 0x01}
	lanMAC = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x01}
)

const (
	vmName   = "web" // as in domain.xml
	vmDevice = "macvtap0"
)

// A site is a hypervisor with one VM's macvtap device, still down, as libvirt's
// start hook finds it.
type site struct {
	network *lab.Network
	tap     *lab.Tap
	folder  string // of its own, for what programs read

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
	if err := s.isolate(); err != nil {
		return err
	}
	s.tap, err = s.network.AddMacvtap(vmDevice, vmMAC)
	return err
}

// isolate gives the hypervisor a resolv.conf of its own, and keeps the machine's
// log out of the reach of what runs there.
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

func (s *site) close() error {
	var errs []error
	if s.network != nil {
		errs = append(errs, s.network.Close())
	}
	if s.folder != "" {
		errs = append(errs, os.RemoveAll(s.folder))
	}
	return errors.Join(errs...)
}

// facts are what the hook reads off the hypervisor.
func (s *site) facts() facts.Facts {
	return facts.Facts{
		Parent:    s.network.Parent,
		Gateway:   []netip.Addr{gateway4, gateway6},
		DNS:       []netip.Addr{dns4},
		Broadcast: []netip.Addr{netip.MustParseAddr("192.168.2.255"), netip.MustParseAddr("255.255.255.255")},
		OnLink:    []netip.Prefix{hypervisor4.Masked(), hypervisor6.Masked()},
	}
}

//go:embed domain.xml
var domainFile string

var domainTemplate = template.Must(template.New("domain").Parse(domainFile))

// domain gives the VM's XML. That of a VM that stopped names no device.
func (s *site) domain(device string) []byte {
	var xml bytes.Buffer
	err := domainTemplate.Execute(&xml, struct{ MAC, Parent, Device string }{vmMAC.String(), s.network.Parent, device})
	if err != nil {
		panic(err) // a buffer takes everything, and the template is our own
	}
	return xml.Bytes()
}

// file writes a file into the site's folder and gives its path.
func (s *site) file(name, content string, mode os.FileMode) (string, error) {
	path := filepath.Join(s.folder, name)
	return path, os.WriteFile(path, []byte(content), mode)
}

// hookPath is the PATH that libvirt's daemon usually has.
const hookPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// needPrograms reports programs that are missing.
func needPrograms(names ...string) error {
	if err := os.Setenv("PATH", os.Getenv("PATH")+":"+hookPath); err != nil {
		return err
	}
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("the program %s is missing, without which there is no shell hook to compare with: apt-get install nftables xmlstarlet", name)
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
