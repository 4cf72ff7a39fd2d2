// Package libvirt asks the running libvirt for domains over its RPC socket. It is
// for an administrator's commands only: a hook that calls libvirt waits for the
// daemon that waits for the hook (https://libvirt.org/hooks.html).
package libvirt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
	rpc "github.com/digitalocean/go-libvirt"
	"github.com/digitalocean/go-libvirt/socket/dialers"
	"golang.org/x/sys/unix"
)

// sockets are where a daemon that runs QEMU domains listens: the modular one's,
// then the monolithic one's (libvirt's docs/daemons.rst).
var sockets = []string{"/run/libvirt/virtqemud-sock", "/run/libvirt/libvirt-sock"}

// ErrNotRunning says that a VM is defined and shut off.
var ErrNotRunning = errors.New("it is not running, and has no device to protect")

// ErrUnknown says that there is no VM of a name.
var ErrUnknown = errors.New("libvirt knows no such VM")

// A Client is a connection to the daemon.
type Client struct {
	rpc   *rpc.Libvirt
	conn  net.Conn
	until time.Time // when it is given up; the zero time for never
}

// Dial connects to the first socket that answers. What is asked over the connection
// fails when ctx ends; LiveXML has a context of its own.
func Dial(ctx context.Context) (*Client, error) {
	conn, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	c := &Client{rpc: rpc.NewWithDialer(dialers.NewAlreadyConnected(conn)), conn: conn}
	c.limit(ctx)
	if err := c.within(func() error { return c.rpc.ConnectToURI(rpc.QEMUSystem) }); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("libvirt: %s: %w", conn.RemoteAddr(), err)
	}
	return c, nil
}

// connect opens the first socket that answers.
func connect(ctx context.Context) (net.Conn, error) {
	var failures []string
	for _, socket := range sockets {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			return conn, nil
		}
		failures = append(failures, err.Error())
	}
	return nil, fmt.Errorf("libvirt: no daemon answers: %s", strings.Join(failures, "; "))
}

// limit has all that is asked over the connection fail when ctx ends.
func (c *Client) limit(ctx context.Context) { c.until, _ = ctx.Deadline() }

// within asks the daemon, and gives up when the time is over. That ends the
// connection: go-libvirt takes a deadline that it reads over for a passing fault, and
// reads again for ever.
func (c *Client) within(ask func() error) error {
	if c.until.IsZero() {
		return ask()
	}
	var late atomic.Bool
	timer := time.AfterFunc(time.Until(c.until), func() {
		late.Store(true)
		_ = c.conn.Close()
	})
	defer timer.Stop()
	err := ask()
	if err != nil && late.Load() {
		return ErrSlow
	}
	return err
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
	_ = c.within(c.rpc.Disconnect) // nothing is left undone
}

// Running lists the names of the running VMs, sorted.
func (c *Client) Running() ([]string, error) {
	domains, err := c.domains(rpc.ConnectListDomainsActive)
	if err != nil {
		return nil, fmt.Errorf("libvirt: list the running VMs: %w", err)
	}
	names := make([]string, len(domains))
	for i, d := range domains {
		names[i] = d.Name
	}
	slices.Sort(names)
	return names, nil
}

// domains lists VMs.
func (c *Client) domains(which rpc.ConnectListAllDomainsFlags) (domains []rpc.Domain, err error) {
	err = c.within(func() error {
		domains, _, err = c.rpc.ConnectListAllDomains(1, which)
		return err
	})
	return domains, err
}

// RunningVMs gives the names of the running VMs by their UUIDs, which are in lower case
// with hyphens.
func (c *Client) RunningVMs() (map[string]string, error) {
	domains, err := c.domains(rpc.ConnectListDomainsActive)
	if err != nil {
		return nil, fmt.Errorf("libvirt: list the running VMs: %w", err)
	}
	names := make(map[string]string, len(domains))
	for _, d := range domains {
		names[formatUUID(d.UUID)] = d.Name
	}
	return names, nil
}

// LiveXML gives the XML of a running VM as it is now. For one that is shut off the
// error is ErrNotRunning.
func (c *Client) LiveXML(ctx context.Context, name string) (string, error) {
	c.limit(ctx)
	xml := ""
	err := c.within(func() (err error) {
		xml, err = c.liveXML(name)
		return err
	})
	switch {
	case errors.Is(err, ErrUnknown):
		return "", fmt.Errorf("VM %q: %w%s; \"virsh list --all\" names them", name, ErrUnknown, c.suggest(name))
	case errors.Is(err, ErrNotRunning):
		return "", fmt.Errorf("VM %q: %w", name, err)
	case err != nil:
		return "", fmt.Errorf("VM %q: libvirt: %w", name, err)
	}
	return xml, nil
}

func (c *Client) liveXML(name string) (string, error) {
	d, err := c.rpc.DomainLookupByName(name)
	if rpc.IsNotFound(err) {
		return "", ErrUnknown
	}
	if err != nil {
		return "", err
	}
	active, err := c.rpc.DomainIsActive(d)
	if err != nil {
		return "", err
	}
	if active == 0 {
		return "", ErrNotRunning
	}
	return c.rpc.DomainGetXMLDesc(d, 0)
}

// suggest asks whether a VM of a like name is meant, if there is one.
func (c *Client) suggest(name string) string {
	domains, err := c.domains(0)
	if err != nil {
		return "" // the message says enough without
	}
	names := make([]string, len(domains))
	for i, d := range domains {
		names[i] = d.Name
	}
	if near := Nearest(name, names); near != "" {
		return fmt.Sprintf(", did you mean %q?", near)
	}
	return ""
}

// Nearest gives the name that a mistyped one most likely stands for, "" for none:
// one letter in three may be wrong.
func Nearest(typed string, names []string) string {
	near, least := "", max(1, utf8.RuneCountInString(typed)/3)+1
	for _, name := range names {
		distance := levenshtein.ComputeDistance(strings.ToLower(typed), strings.ToLower(name))
		if distance < least {
			near, least = name, distance
		}
	}
	return near
}

// Version gives the daemon's version as libvirt counts it: major*1,000,000 +
// minor*1,000 + release.
func (c *Client) Version() (uint64, error) {
	var v uint64
	err := c.within(func() (err error) {
		v, err = c.rpc.ConnectGetLibVersion()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("libvirt: %w", err)
	}
	return v, nil
}

// FormatVersion writes a version as libvirt counts it in the usual form.
func FormatVersion(v uint64) string {
	return fmt.Sprintf("%d.%d.%d", v/1_000_000, v/1_000%1_000, v%1_000)
}
