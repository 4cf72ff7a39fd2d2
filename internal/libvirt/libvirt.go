// Package libvirt asks the running libvirt for domains over its RPC socket. It is
// for commands and the service watch only: a hook that calls libvirt waits for the
// daemon that waits for the hook (https://libvirt.org/hooks.html).
package libvirt

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"macvtap-filter/internal/libvirt/rpc"
	"macvtap-filter/internal/near"
)

// uri is the hypervisor whose VMs are meant: the system's QEMU.
const uri = "qemu:///system"

// leaveTime is how long the daemon may take to say good-bye.
const leaveTime = time.Second

// sockets are where a daemon that runs QEMU domains listens: the modular one's,
// then the monolithic one's (libvirt's docs/daemons.rst).
var sockets = []string{"/run/libvirt/virtqemud-sock", "/run/libvirt/libvirt-sock"}

// ErrNotRunning says that a VM is defined and shut off.
var ErrNotRunning = errors.New("it is not running, and has no device to protect")

// ErrUnknown says that there is no VM of a name.
var ErrUnknown = errors.New("libvirt knows no such VM")

// ErrSlow says that the daemon did not answer in time.
var ErrSlow = rpc.ErrSlow

// A Client is a connection to the daemon. What is asked over it fails when the context
// of the question ends, with ErrSlow when its time was over; another question may be
// answered all the same.
type Client struct {
	rpc  *rpc.Conn
	conn net.Conn
}

// Dial connects to the first socket that answers, and gives up when ctx ends.
func Dial(ctx context.Context) (*Client, error) {
	conn, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	c, err := rpc.Open(ctx, conn, uri, nil)
	if err != nil {
		return nil, fmt.Errorf("libvirt: %s: %w", conn.RemoteAddr(), err)
	}
	return &Client{c, conn}, nil
}

// connect opens the first socket that answers.
func connect(ctx context.Context) (net.Conn, error) {
	var failures []string
	for _, socket := range sockets {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			return conn, nil
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("libvirt: %s: %w", socket, ErrSlow)
		}
		failures = append(failures, err.Error())
	}
	return nil, fmt.Errorf("libvirt: no daemon answers: %s", strings.Join(failures, "; "))
}

// PID gives the process that made the socket: the daemon's own or, where systemd
// listens for it, systemd's (unix(7), SO_PEERCRED). 0 when it cannot be told.
func (c *Client) PID() int {
	conn, ok := c.conn.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(peer.Pid)
		}
	})
	return pid
}

// Close ends the connection.
func (c *Client) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime) // decides nothing
	defer cancel()
	c.rpc.Close(ctx)
}

// Running lists the names of the running VMs, sorted.
func (c *Client) Running(ctx context.Context) ([]string, error) {
	running, err := c.RunningVMs(ctx)
	return slices.Sorted(maps.Values(running)), err
}

// RunningVMs gives the names of the running VMs by their UUIDs, which are in lower case
// with hyphens.
func (c *Client) RunningVMs(ctx context.Context) (map[string]string, error) {
	return c.list(ctx, rpc.Active, "the running VMs")
}

// VMs gives the names of all VMs, those that are shut off included, as RunningVMs does.
func (c *Client) VMs(ctx context.Context) (map[string]string, error) {
	return c.list(ctx, rpc.All, "all VMs")
}

func (c *Client) list(ctx context.Context, which uint32, what string) (map[string]string, error) {
	domains, err := c.rpc.Domains(ctx, which)
	if err != nil {
		return nil, fmt.Errorf("libvirt: list %s: %w", what, err)
	}
	names := make(map[string]string, len(domains))
	for _, d := range domains {
		names[formatUUID(d.UUID)] = d.Name
	}
	return names, nil
}

// LiveXML gives the XML of a running VM as it is now. The error is ErrNotRunning for one
// that is shut off, and ErrUnknown, with a like name if there is one, for none.
func (c *Client) LiveXML(ctx context.Context, name string) (string, error) {
	xml, err := c.liveXML(ctx, name)
	switch {
	case errors.Is(err, ErrUnknown):
		return "", fmt.Errorf("VM %q: %w%s; \"virsh list --all\" names them", name, ErrUnknown, c.suggest(ctx, name))
	case errors.Is(err, ErrNotRunning):
		return "", fmt.Errorf("VM %q: %w", name, err)
	case err != nil:
		return "", fmt.Errorf("VM %q: libvirt: %w", name, err)
	}
	return xml, nil
}

// XML gives the XML of a VM as it is now, running or shut off.
func (c *Client) XML(ctx context.Context, name string) (string, error) {
	d, err := c.rpc.LookupByName(ctx, name)
	if errors.Is(err, rpc.ErrNoDomain) {
		err = ErrUnknown
	}
	var xml string
	if err == nil {
		xml, err = c.rpc.XML(ctx, d)
	}
	if err != nil {
		return "", fmt.Errorf("VM %q: libvirt: %w", name, err)
	}
	return xml, nil
}

func (c *Client) liveXML(ctx context.Context, name string) (string, error) {
	d, err := c.rpc.LookupByName(ctx, name)
	if errors.Is(err, rpc.ErrNoDomain) {
		return "", ErrUnknown
	}
	if err != nil {
		return "", err
	}
	active, err := c.rpc.IsActive(ctx, d)
	if err != nil {
		return "", err
	}
	if !active {
		return "", ErrNotRunning
	}
	return c.rpc.XML(ctx, d)
}

// SetMetadata sets the element of a namespace in the <metadata> of a VM that runs, "" for none,
// until it stops or another is set: its definition has none. The element is written without a
// namespace, and gets the prefix key. The error is ErrGone when the VM does not run. It has a
// connection of its own: a VM that something keeps busy keeps nobody else's question waiting.
func SetMetadata(ctx context.Context, uuid, key, namespace, element string) error {
	id, err := parseUUID(uuid)
	if err != nil {
		return err
	}
	c, err := Dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	d, err := c.rpc.LookupByUUID(ctx, id)
	if err == nil {
		err = c.rpc.SetMetadata(ctx, d, key, namespace, element)
	}
	if errors.Is(err, rpc.ErrState) {
		err = ErrGone
	}
	if err = gone(err); err != nil {
		return fmt.Errorf("VM %s: libvirt: %w", uuid, err)
	}
	return nil
}

// suggest asks whether a VM of a like name is meant, if there is one.
func (c *Client) suggest(ctx context.Context, name string) string {
	domains, err := c.rpc.Domains(ctx, rpc.All)
	if err != nil {
		return "" // the message says enough without
	}
	names := make([]string, len(domains))
	for i, d := range domains {
		names[i] = d.Name
	}
	if meant := near.Name(name, names); meant != "" {
		return fmt.Sprintf(", did you mean %q?", meant)
	}
	return ""
}

// Version gives the daemon's version as libvirt counts it: major*1,000,000 +
// minor*1,000 + release.
func (c *Client) Version(ctx context.Context) (uint64, error) {
	v, err := c.rpc.Version(ctx)
	if err != nil {
		return 0, fmt.Errorf("libvirt: %w", err)
	}
	return v, nil
}

// FormatVersion writes a version as libvirt counts it in the usual form.
func FormatVersion(v uint64) string {
	return fmt.Sprintf("%d.%d.%d", v/1_000_000, v/1_000%1_000, v%1_000)
}
