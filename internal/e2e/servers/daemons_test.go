//go:build e2e

package servers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A server runs on the gateway and hands out addresses of pool4 or pool6, for a short time.
type server struct {
	name  string
	start func(t *testing.T, s *site) *daemon
}

// What servers hand out: a lease of 40 s that is to be renewed after 10 s, where the server can be told that.
const poolEnds4 = "192.168.2.150,192.168.2.180"

// servers4 are DHCP servers for IPv4.
var servers4 = []server{
	{"dnsmasq", func(t *testing.T, s *site) *daemon {
		return s.dnsmasq(t, "--dhcp-range="+poolEnds4+",255.255.255.0,2m", "--dhcp-option=option:T1,10") // two minutes are its least
	}},
	{"kea", func(t *testing.T, s *site) *daemon {
		return s.kea(t, "kea-dhcp4", `{"Dhcp4": {"interfaces-config": {"interfaces": ["eth0"]}, "lease-database": {"type": "memfile", "persist": false},
"valid-lifetime": 40, "renew-timer": 10, "loggers": [`+keaLogger("kea-dhcp4")+`],
"subnet4": [{"id": 1, "subnet": "192.168.2.0/24", "pools": [{"pool": "`+strings.Replace(poolEnds4, ",", "-", 1)+`"}], "option-data": [{"name": "routers", "data": "192.168.2.1"}]}]}}`)
	}},
	{"udhcpd", func(t *testing.T, s *site) *daemon {
		dir := t.TempDir()
		first, last, _ := strings.Cut(poolEnds4, ",")
		config := write(t, dir, "conf", fmt.Sprintf("start %s\nend %s\ninterface eth0\nmin_lease 20\nlease_file %s\npidfile %s/pid\noption subnet 255.255.255.0\noption router 192.168.2.1\noption lease 20\n",
			first, last, write(t, dir, "leases", ""), dir))
		return start(t, s.gateway.Namespace, exec.Command("busybox", "udhcpd", "-f", config))
	}},
	{"isc", func(t *testing.T, s *site) *daemon {
		return s.dhcpd(t, "-4", "option dhcp-renewal-time 10;\nsubnet 192.168.2.0 netmask 255.255.255.0 { range "+strings.Replace(poolEnds4, ",", " ", 1)+"; option routers 192.168.2.1; }\n")
	}},
}

// servers6 are DHCP servers for IPv6.
var servers6 = []server{
	{"dnsmasq", func(t *testing.T, s *site) *daemon {
		return s.dnsmasq(t, "--enable-ra", "--dhcp-range=2001:db8:2::1:0,2001:db8:2::1:ffff,64,2m")
	}},
	{"kea", func(t *testing.T, s *site) *daemon {
		s.radvd(t, "AdvManagedFlag on;", "AdvAutonomous off;")
		return s.kea(t, "kea-dhcp6", `{"Dhcp6": {"interfaces-config": {"interfaces": ["eth0"]}, "lease-database": {"type": "memfile", "persist": false},
"server-id": {"type": "LL", "persist": false}, "valid-lifetime": 40, "preferred-lifetime": 30, "renew-timer": 10, "rebind-timer": 25, "loggers": [`+keaLogger("kea-dhcp6")+`],
"subnet6": [{"id": 1, "subnet": "2001:db8:2::/64", "interface": "eth0", "pools": [{"pool": "2001:db8:2::1:0/112"}]}]}}`)
	}},
	{"isc", func(t *testing.T, s *site) *daemon {
		s.radvd(t, "AdvManagedFlag on;", "AdvAutonomous off;")
		// Of the first without the second networkd takes no address: T2 is 0 then.
		return s.dhcpd(t, "-6", "option dhcp-renewal-time 10;\noption dhcp-rebinding-time 20;\nsubnet6 2001:db8:2::/64 { range6 2001:db8:2::1:0/112; }\n")
	}},
}

func (s *site) dnsmasq(t *testing.T, more ...string) *daemon {
	dir := t.TempDir()
	args := append([]string{"--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--log-facility=-", "--log-dhcp", "--interface=eth0", "--bind-interfaces",
		"--no-ping", "--dhcp-authoritative", "--pid-file=" + dir + "/pid", "--dhcp-leasefile=" + dir + "/leases"}, more...)
	return start(t, s.gateway.Namespace, exec.Command("/usr/sbin/dnsmasq", args...))
}

func (s *site) kea(t *testing.T, program, config string) *daemon {
	dir := t.TempDir()
	cmd := exec.Command("/usr/sbin/"+program, "-c", write(t, dir, "conf", config))
	cmd.Env = append(os.Environ(), "KEA_PIDFILE_DIR="+dir, "KEA_LOCKFILE_DIR="+dir)
	return start(t, s.gateway.Namespace, cmd)
}

func keaLogger(name string) string {
	return fmt.Sprintf(`{"name": %q, "severity": "INFO", "output_options": [{"output": "stdout"}]}`, name)
}

func (s *site) dhcpd(t *testing.T, family, config string) *daemon {
	dir := t.TempDir()
	config = "authoritative;\nping-check false;\ndefault-lease-time 40;\nmin-lease-time 40;\nmax-lease-time 40;\n" + config
	return start(t, s.gateway.Namespace, exec.Command("/usr/sbin/dhcpd", family, "-d", "-f", "--no-pid", "-cf", write(t, dir, "conf", config), "-lf", write(t, dir, "leases", ""), "eth0"))
}

// radvd advertises the gateway as a router and its prefix, with further settings of both.
func (s *site) radvd(t *testing.T, router, prefix string) *daemon {
	dir := t.TempDir()
	config := fmt.Sprintf("interface eth0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; %s prefix 2001:db8:2::/64 { AdvOnLink on; %s }; };\n", router, prefix)
	return start(t, s.gateway.Namespace, exec.Command("/usr/sbin/radvd", "--nodaemon", "--logmethod=stderr", "--pidfile="+dir+"/pid", "--config="+write(t, dir, "conf", config)))
}

// write writes a file and gives its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil { // a script's are among them
		t.Fatal(err)
	}
	return path
}
