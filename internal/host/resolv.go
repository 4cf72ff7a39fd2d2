package host

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
)

// resolvFiles are where name servers are written (resolv.conf(5)): where the
// first names only a resolver on the host itself, the one that systemd-resolved
// writes has the real ones (systemd-resolved.service(8)).
var resolvFiles = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}

// nameServers gives the name servers outside the host.
func nameServers() ([]netip.Addr, error) {
	for _, name := range resolvFiles {
		servers, err := readResolv(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("name servers: %w", err)
		}
		if len(servers) > 0 {
			return servers, nil
		}
	}
	return nil, nil
}

func readResolv(name string) ([]netip.Addr, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var servers []netip.Addr
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		a, err := netip.ParseAddr(fields[1])
		if err != nil || a.IsLoopback() || a.IsUnspecified() {
			continue
		}
		servers = append(servers, a.Unmap().WithZone(""))
	}
	return servers, lines.Err()
}
