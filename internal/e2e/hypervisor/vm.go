package hypervisor

import (
	"context"
	_ "embed"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"

	"macvtap-filter/internal/e2e/guestrpc"
)

// bootTime is how long a guest may take until its agent answers. Emulated in software it takes a few seconds.
const bootTime = 90 * time.Second

// A NIC is a guest's, as libvirt is to make it and the guest to configure it.
type NIC struct {
	// Name is what the guest calls it: eth0, eth1 … in the order of the domain.
	Name string
	// Type is the <interface> type: "direct", "network", or "ethernet", which is no macvtap device. Source is the device
	// or network that the first two name.
	Type, Source string
	MAC          net.HardwareAddr
	// Addr4 and Addr6 are the NIC's own, or nothing, and it stays down; the gateways are for everything that is not on
	// their networks.
	Addr4, Addr6       netip.Prefix
	Gateway4, Gateway6 netip.Addr
	// Auto says that the guest is told none of these: it must learn its addresses from the network.
	Auto bool
}

// A VM is a domain of the hypervisor's libvirt.
type VM struct {
	Name string
	NICs []NIC

	hypervisor *Hypervisor
	agent      *rpc.Client
}

//go:embed domain.xml
var domainText string

var domainTemplate = template.Must(template.New("domain").Parse(domainText))

// Define tells libvirt of a VM and does not start it.
func (h *Hypervisor) Define(ctx context.Context, name string, nics ...NIC) (*VM, error) {
	img, err := guestImage()
	if err != nil {
		return nil, fmt.Errorf("make a guest's image: %w", err)
	}
	initramfs := filepath.Join(workDir, "initramfs.gz")
	if err := copyFile(h.Path(initramfs), img.initramfs); err != nil {
		return nil, fmt.Errorf("make a guest's image: %w", err)
	}
	vm := &VM{Name: name, NICs: nics, hypervisor: h}
	command := []string{"console=ttyS0", "panic=-1", "quiet"}
	for _, n := range nics {
		if n.Auto {
			command = append(command, "auto="+n.Name)
			continue
		}
		if !n.Addr4.IsValid() {
			continue
		}
		command = append(command, fmt.Sprintf("nic=%s,%s,%s,%s,%s,%s,%s", n.Name,
			n.Addr4, n.Addr4.Masked(), n.Gateway4, n.Addr6, n.Addr6.Masked(), n.Gateway6))
	}
	var xml strings.Builder
	err = domainTemplate.Execute(&xml, map[string]any{
		"Type": img.domain, "Name": escape(name), "Kernel": img.kernel, "Initramfs": initramfs,
		"CommandLine": strings.Join(command, " "), "NICs": nics,
		"Console": vm.consolePath(), "Socket": vm.socketPath(), "Port": guestrpc.PortName,
	})
	if err != nil {
		return nil, err
	}
	if _, err := h.Feed(ctx, xml.String(), "virsh", "--connect", "qemu:///system", "define", "/dev/stdin"); err != nil {
		return nil, err
	}
	h.vms = append(h.vms, vm)
	return vm, nil
}

// Start starts the VM and waits until its agent answers.
func (vm *VM) Start(ctx context.Context) error {
	if _, err := vm.hypervisor.Virsh(ctx, "start", "--", vm.Name); err != nil {
		return err
	}
	return vm.Greet(ctx)
}

// Greet waits until the agent of a started VM answers.
func (vm *VM) Greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", vm.hypervisor.Path(vm.socketPath()))
	if err != nil {
		return fmt.Errorf("VM %s: %w", vm.Name, err)
	}
	vm.agent = jsonrpc.NewClient(conn)
	if err := vm.Call(ctx, "Hello", guestrpc.Nothing{}, &guestrpc.Nothing{}); err != nil {
		return fmt.Errorf("%w; its console says:\n%s", err, vm.Console())
	}
	return nil
}

// Destroy ends the VM as `virsh destroy` does.
func (vm *VM) Destroy(ctx context.Context) error {
	_, err := vm.hypervisor.Virsh(ctx, "destroy", "--", vm.Name)
	return err
}

// State returns what libvirt says of the VM, "running" or "shut off".
func (vm *VM) State(ctx context.Context) (string, error) {
	return vm.hypervisor.Virsh(ctx, "domstate", "--", vm.Name)
}

// Call calls a method of the agent in the guest.
func (vm *VM) Call(ctx context.Context, method string, args, reply any) error {
	call := vm.agent.Go("Agent."+method, args, reply, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
		if call.Error != nil {
			return fmt.Errorf("agent of VM %s: %s: %w", vm.Name, method, call.Error)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("agent of VM %s: %s: %w", vm.Name, method, ctx.Err())
	}
}

// Process returns the number of the VM's QEMU process.
func (vm *VM) Process() (int, error) {
	text, err := os.ReadFile(vm.hypervisor.Path(filepath.Join("/run/libvirt/qemu", vm.Name+".pid")))
	if err != nil {
		return 0, fmt.Errorf("VM %s: %w", vm.Name, err)
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// Console returns what the guest's kernel and /init have printed.
func (vm *VM) Console() string {
	text, err := os.ReadFile(vm.hypervisor.Path(vm.consolePath()))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// kill ends the VM's QEMU, if it runs, without libvirt.
func (vm *VM) kill() error {
	if vm.agent != nil {
		_ = vm.agent.Close()
	}
	pid, err := vm.Process()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill VM %s: %w", vm.Name, err)
	}
	return nil
}

func (vm *VM) consolePath() string { return filepath.Join(workDir, vm.Name+".console") }
func (vm *VM) socketPath() string  { return filepath.Join(workDir, vm.Name+".agent") }

// escape makes text safe inside an XML element.
func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}

func copyFile(to, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}
