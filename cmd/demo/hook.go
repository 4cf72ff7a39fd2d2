package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"macvtap-filter/internal/lab"
)

//go:embed config.toml
var configFile []byte

//go:embed domain.xml
var domainFile string

var domainTemplate = template.Must(template.New("domain").Parse(domainFile))

// A hook is the binary, as the hypervisor's libvirt calls it.
type hook struct {
	hypervisor *lab.Namespace
	parent     string
	binary     string
}

const (
	// hookTime is how long a hook call may take.
	hookTime = time.Minute
	// configPath is where the hypervisor, and nobody else, sees the configuration.
	configPath = "/run/macvtap-filter.toml"
)

// newHook gives the hypervisor what the binary reads: a configuration, and a
// resolv.conf of its own. The machine's log stays out of the binary's reach.
func newHook(s *scene, binary string) (*hook, error) {
	hypervisor := s.network.Hypervisor
	log, err := filepath.EvalSymlinks("/dev/log")
	if err == nil && !strings.HasPrefix(log, "/run/") {
		if err := hypervisor.Overlay(log, nil); err != nil {
			return nil, err
		}
	}
	for _, folder := range []string{"/run", "/var/run"} {
		if err := hypervisor.Hide(folder); err != nil {
			return nil, err
		}
	}
	var resolv bytes.Buffer
	for _, server := range s.addrs(dns4, dns6) {
		fmt.Fprintf(&resolv, "nameserver %s\n", server)
	}
	err = errors.Join(
		hypervisor.Overlay(configPath, configFile),
		hypervisor.Overlay("/etc/resolv.conf", resolv.Bytes()),
	)
	if err != nil {
		return nil, err
	}
	return &hook{hypervisor: hypervisor, parent: s.network.Parent, binary: binary}, nil
}

// call calls the binary as libvirt does: in the hypervisor, from its root
// folder, with few variables, and with the domain's XML on standard input.
func (h *hook) call(ctx context.Context, out *printer, v *vm, operation, suboperation string) error {
	xml, err := h.domain(v, operation != "stopped")
	if err != nil {
		return err
	}
	begin := time.Now()
	said, err := h.run(ctx, xml, h.binary, v.name, operation, suboperation, "-")
	took := time.Since(begin).Round(100 * time.Microsecond)
	command := fmt.Sprintf("%s %-4s %s %s - <%s.xml", filepath.Base(h.binary), v.name, operation, suboperation, v.name)
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	if said != "" {
		return fmt.Errorf("%s printed %q: libvirt would take that for XML", command, said)
	}
	out.command(command, fmt.Sprintf("exit 0 after %v", took))
	return nil
}

// showStatus has the binary tell how the VMs' interfaces are, to whom the
// demonstration tells everything: a terminal has its colours.
func (h *hook) showStatus(ctx context.Context, out *printer) error {
	ctx, cancel := context.WithTimeout(ctx, hookTime)
	defer cancel()
	out.command(filepath.Base(h.binary)+" status", "")
	cmd := command(ctx, h.binary, "status")
	cmd.Env = append(cmd.Env, "TERM="+os.Getenv("TERM"), "NO_COLOR="+os.Getenv("NO_COLOR"))
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = out.file, &stderr
	if err := h.hypervisor.Run(cmd); err != nil {
		return fmt.Errorf("status: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// run runs a program in the hypervisor and gives what it printed.
func (h *hook) run(ctx context.Context, stdin []byte, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, hookTime)
	defer cancel()
	cmd := command(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := h.hypervisor.Run(cmd); err != nil {
		return "", fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// command prepares a program as libvirt would run it.
func command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "/"
	cmd.Env = []string{
		"LC_ALL=C",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root",
		"USER=root",
		"LOGNAME=root",
		"MACVTAP_FILTER_CONFIG=" + configPath,
	}
	// A process group of its own: Ctrl-C is for the demonstration, which ends
	// what it started.
	cmd.SysProcAttr = ownGroup()
	return cmd
}

// domain gives the VM's XML. Only that of a VM that runs, or is about to, names
// the device.
func (h *hook) domain(v *vm, runs bool) ([]byte, error) {
	var xml bytes.Buffer
	err := domainTemplate.Execute(&xml, struct {
		Runs                                bool
		ID, Name, UUID, MAC, Parent, Device string
	}{runs, v.uuid[len(v.uuid)-1:], v.name, v.uuid, v.mac.String(), h.parent, v.device})
	return xml.Bytes(), err
}
