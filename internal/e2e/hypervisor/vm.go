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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"

	"macvtap-filter/internal/e2e/guestrpc"
)

// bootTime is how long a guest may take until its agent answers. Emulated in software it takes a few seconds, and more where
// the machine is busy: it only ends what hangs, as aliveTime does.
const bootTime = 5 * time.Minute

// helloTime is how long one question may wait for a guest that boots.
const helloTime = 20 * time.Second

// aliveTime is how long a guest that runs may take to answer.
const aliveTime = 5 * time.Minute

// A NIC is a guest's, as libvirt is to make it and the guest to configure it.
type NIC struct {
	// Name is what the guest calls it: eth0, eth1 … in the order of the domain.
	Name string
	// Type is the <interface> type: "direct", "network", or "ethernet", which is no macvtap device. Source is the device
	// or network that the first two name.
	Type, Source string
	MAC          net.HardwareAddr
	// Mistrusted leaves out trustGuestRxFilters='yes', as libvirt does by default: what is for the guest's multicast
	// groups does not come to it then.
	Mistrusted bool
	// Addr4 and Addr6 are the NIC's own, or nothing, and it stays down; the gateways are for everything that is not on
	// their networks.
	Addr4, Addr6       netip.Prefix
	Gateway4, Gateway6 netip.Addr
	// Auto says that the guest is told none of these: it must learn its addresses from the network.
	Auto bool
}

// config is what the guest's /nic.sh takes.
func (n NIC) config() string {
	return fmt.Sprintf("%s,%s,%s,%s,%s,%s,%s", n.Name, n.Addr4, n.Addr4.Masked(), n.Gateway4,
		n.Addr6, n.Addr6.Masked(), n.Gateway6)
}

// A Spec says what VM is to be defined.
type Spec struct {
	Name string
	NICs []NIC
	// Metadata is the XML inside <metadata>.
	Metadata string
	// Disk gives it an empty disk, in which libvirt can keep snapshots of the running VM.
	Disk bool
	// NetBoot says that it has no system to boot: its firmware asks the network for one by its NICs. No agent will answer.
	NetBoot bool
}

// A VM is a domain of a hypervisor's libvirt.
type VM struct {
	Spec

	hypervisor *Hypervisor
	agent      *rpc.Client
	boot       string // which of its boots was greeted last
}

//go:embed domain.xml
var domainText string

var domainTemplate = template.Must(template.New("domain").Parse(domainText))

// Define tells libvirt of a VM and does not start it.
func (h *Hypervisor) Define(ctx context.Context, spec Spec) (*VM, error) {
	vm := &VM{Spec: spec, hypervisor: h}
	img, err := h.prepare(ctx, vm)
	if err != nil {
		return nil, fmt.Errorf("VM %s: make what it boots from: %w", vm.Name, err)
	}
	command := []string{"console=ttyS0", "panic=-1", "quiet"}
	for _, n := range vm.NICs {
		switch {
		case n.Auto:
			command = append(command, "auto="+n.Name)
		case n.Addr4.IsValid():
			command = append(command, "nic="+n.config())
		}
	}
	var xml strings.Builder
	err = domainTemplate.ExecuteTemplate(&xml, "domain", map[string]any{
		"VM": vm, "Type": img.domain, "Name": escape(vm.Name), "Kernel": img.kernel, "Initramfs": initramfsPath,
		"CommandLine": strings.Join(command, " "), "Console": vm.consolePath(), "Disk": vm.diskPath(),
		"Socket": vm.socketPath(), "Port": guestrpc.PortName,
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

// initramfsPath is the guests' initramfs, on the hypervisor.
var initramfsPath = filepath.Join(workDir, "initramfs.gz")

// prepare puts the files on the hypervisor that a VM is started from.
func (h *Hypervisor) prepare(ctx context.Context, vm *VM) (image, error) {
	img, err := guestImage()
	if err != nil {
		return image{}, err
	}
	if err := copyFile(h.Path(initramfsPath), img.initramfs); err != nil {
		return image{}, err
	}
	if vm.Disk {
		if _, err := h.Run(ctx, "qemu-img", "create", "-q", "-f", "qcow2", vm.diskPath(), "1M"); err != nil {
			return image{}, fmt.Errorf("%w (is qemu-utils installed?)", err)
		}
	}
	return img, nil
}

// Start starts the VM and waits until its agent answers.
func (vm *VM) Start(ctx context.Context) error {
	if _, err := vm.hypervisor.Virsh(ctx, "start", "--", vm.Name); err != nil {
		return err
	}
	return vm.Greet(ctx)
}

// Greet waits until the agent of a VM answers that was started, or whose QEMU is another now.
func (vm *VM) Greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	return vm.greet(ctx)
}

// GreetAnew waits until the VM's guest has booted since it was greeted last, and its agent answers.
func (vm *VM) GreetAnew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	for last := vm.boot; vm.boot == last; time.Sleep(20 * time.Millisecond) {
		if err := vm.greet(ctx); err != nil {
			return fmt.Errorf("wait for another boot: %w", err)
		}
	}
	return nil
}

// greet asks again when no answer comes: a guest that goes down takes the question along.
func (vm *VM) greet(ctx context.Context) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, helloTime) // decides nothing
		err := vm.greetOnce(attempt)
		cancel()
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
}

func (vm *VM) greetOnce(ctx context.Context) error {
	if vm.agent != nil {
		_ = vm.agent.Close() // QEMU may have
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", vm.hypervisor.Path(vm.socketPath()))
	if err != nil {
		return fmt.Errorf("VM %s: %w", vm.Name, err)
	}
	vm.agent = jsonrpc.NewClient(conn)
	if err := vm.Call(ctx, "Hello", guestrpc.Nothing{}, &vm.boot); err != nil {
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

// ErrGuestLost says that a VM was moved, and its guest did not go on: it hangs, or has booted anew. QEMU 7.2 without KVM
// does this to a busy guest now and then, with no hook either.
var ErrGuestLost = errors.New("the guest has not survived the migration")

// Migrate moves the running VM to another hypervisor, as `virsh migrate --live --p2p` does, and waits until its agent
// answers there. After an error that is not [ErrGuestLost] the VM is where it was.
func (vm *VM) Migrate(ctx context.Context, to *Hypervisor) error {
	if _, err := to.prepare(ctx, vm); err != nil {
		return fmt.Errorf("VM %s: make what it boots from: %w", vm.Name, err)
	}
	// The hypervisors' files are in namespaces of their own; both find these.
	uri := "qemu+unix:///system?socket=" + to.Path(LibvirtSocket)
	stream := "unix://" + to.Path(filepath.Join(workDir, vm.Name+".migration"))
	from, boot := vm.hypervisor, vm.boot
	if _, err := from.Virsh(ctx, "migrate", "--live", "--p2p", "--migrateuri", stream, "--", vm.Name, uri); err != nil {
		return err
	}
	from.vms = slices.DeleteFunc(from.vms, func(other *VM) bool { return other == vm })
	to.vms = append(to.vms, vm)
	vm.hypervisor = to
	alive, cancel := context.WithTimeout(ctx, aliveTime)
	defer cancel()
	if err := vm.greet(alive); err != nil {
		return fmt.Errorf("%w: %w", ErrGuestLost, err)
	}
	if vm.boot != boot {
		return fmt.Errorf("%w: it has booted anew", ErrGuestLost)
	}
	return nil
}

// Attach plugs a NIC into the running VM, as `virsh attach-device --live` does.
func (vm *VM) Attach(ctx context.Context, nic NIC) error {
	return vm.device(ctx, "attach-device", nic)
}

// Configure waits for a NIC that was plugged in, and has the guest configure and attend to it.
func (vm *VM) Configure(ctx context.Context, nic NIC) error {
	plugged := guestrpc.Plugged{NIC: nic.Name, Config: nic.config(), Wait: bootTime}
	if err := vm.Call(ctx, "Plugged", plugged, &guestrpc.Nothing{}); err != nil {
		return err
	}
	vm.NICs = append(vm.NICs, nic)
	return nil
}

// Detach takes a NIC from the running VM, as `virsh detach-device --live` does. The guest lets it go in its own time.
func (vm *VM) Detach(ctx context.Context, nic NIC) error {
	vm.NICs = slices.DeleteFunc(vm.NICs, func(other NIC) bool { return other.Name == nic.Name })
	return vm.device(ctx, "detach-device", nic)
}

func (vm *VM) device(ctx context.Context, command string, nic NIC) error {
	var xml strings.Builder
	if err := domainTemplate.ExecuteTemplate(&xml, "interface", nic); err != nil {
		return err
	}
	_, err := vm.hypervisor.Feed(ctx, xml.String(), "virsh", "--connect", "qemu:///system", command, "--live", "--",
		vm.Name, "/dev/stdin")
	return err
}

func (vm *VM) diskPath() string    { return filepath.Join(workDir, vm.Name+".qcow2") }
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
