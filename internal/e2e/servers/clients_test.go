//go:build e2e

package servers

import (
	_ "embed"
	"fmt"
	"net/netip"
	"os/exec"
	"syscall"
	"testing"
)

// script is what udhcpc and dhclient call when a lease comes or goes.
//
//go:embed lease.sh
var script string

// A client asks for the guest's addresses.
type client struct {
	name string
	// start has it get a lease, and release give it back. After that start is called again.
	start   func(t *testing.T, g *guest) *daemon
	release func(t *testing.T, g *guest, d *daemon)
	// renew has it renew its lease before it is time to, where it can be told so.
	renew func(t *testing.T, g *guest, d *daemon)
}

// clients4 ask for IPv4.
var clients4 = []client{
	{
		name: "udhcpc",
		start: func(t *testing.T, g *guest) *daemon {
			return g.start(t, "busybox", "udhcpc", "-f", "-R", "-i", guestNIC, "-s", write(t, g.dir, "script", script))
		},
		release: func(t *testing.T, _ *guest, d *daemon) { ends(t, d, syscall.SIGTERM) },
		renew: func(t *testing.T, _ *guest, d *daemon) {
			if err := d.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
		},
	},
	dhclient("-4"), dhcpcd("ipv4only"), networkd("DHCP=ipv4\nIPv6AcceptRA=no\n"),
}

// clients6 ask for IPv6.
var clients6 = []client{dhclient("-6"), dhcpcd("ipv6only\nia_na"), networkd("DHCP=no\nIPv6AcceptRA=yes\n")}

func dhclient(family string) client {
	args := func(t *testing.T, g *guest) []string {
		return []string{family, "-cf", write(t, g.dir, "conf", "retry 2;\ninitial-interval 1;\n"), "-lf", g.dir + "/leases", "-pf", g.dir + "/pid", "-sf", write(t, g.dir, "script", script)}
	}
	return client{
		name: "dhclient",
		start: func(t *testing.T, g *guest) *daemon {
			g.awaitAddress(t, netip.MustParsePrefix("fe80::/10")) // without one it ends
			return g.start(t, "/sbin/dhclient", append(args(t, g), "-d", guestNIC)...)
		},
		release: func(t *testing.T, g *guest, d *daemon) {
			run(t, g.Namespace, exec.Command("/sbin/dhclient", append(args(t, g), "-r", guestNIC)...))
			d.awaitEnd(t)
		},
	}
}

func dhcpcd(config string) client {
	return client{
		name: "dhcpcd",
		start: func(t *testing.T, g *guest) *daemon {
			return g.start(t, "/usr/sbin/dhcpcd", "-B", "-f", write(t, g.dir, "conf", "duid\nnohook *\n"+config+"\n"), "-c", "/bin/true", guestNIC)
		},
		// What "dhcpcd -k" does, which gives up after ten seconds.
		release: func(t *testing.T, _ *guest, d *daemon) { ends(t, d, syscall.SIGALRM) },
		renew: func(t *testing.T, g *guest, _ *daemon) {
			run(t, g.Namespace, exec.Command("/usr/sbin/dhcpcd", "-f", g.dir+"/conf", "-N", guestNIC))
		},
	}
}

func networkd(config string) client {
	return client{
		name: "networkd",
		start: func(t *testing.T, g *guest) *daemon {
			// It looks for its files in folders of these names alone.
			for _, folder := range []string{"/etc/systemd/network", "/usr/lib/systemd/network"} {
				if err := g.Hide(folder); err != nil {
					t.Fatal(err)
				}
			}
			text := fmt.Sprintf("[Match]\nName=%s\n[Network]\nLinkLocalAddressing=ipv6\n%s[DHCPv4]\nSendRelease=yes\n[DHCPv6]\nUseDelegatedPrefix=no\n", guestNIC, config)
			if err := g.Overlay("/etc/systemd/network/guest.network", []byte(text)); err != nil {
				t.Fatal(err)
			}
			// With a /sys that can be written it waits for udev, which is not there.
			run(t, g.Namespace, exec.Command("mount", "-o", "remount,bind,ro", "/sys"))
			run(t, g.Namespace, exec.Command("install", "-d", "-o", "systemd-network", "-g", "systemd-network", "/run/systemd/netif", "/run/systemd/netif/links", "/run/systemd/netif/leases"))
			return g.start(t, "/lib/systemd/systemd-networkd")
		},
		release: func(t *testing.T, _ *guest, d *daemon) { ends(t, d, syscall.SIGTERM) },
	}
}

// start runs a client in the guest.
func (g *guest) start(t *testing.T, name string, args ...string) *daemon {
	t.Helper()
	return start(t, g.Namespace, exec.Command(name, args...))
}

// ends has a client end by a signal.
func ends(t *testing.T, d *daemon, signal syscall.Signal) {
	t.Helper()
	if err := d.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	d.awaitEnd(t)
}
