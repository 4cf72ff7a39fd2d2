//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"macvtap-filter/internal/e2e/hypervisor"
	"macvtap-filter/internal/lab"
)

// An ftpServer has one file, and sends it over data connections that it opens (PORT) or waits for (PASV; RFC 959, 4.1.2).
type ftpServer struct {
	host *lab.Host
	addr netip.Addr
	// wait is how long it tries to open a connection.
	wait time.Duration
}

const (
	ftpPort    = 21
	activePort = 19<<8 + 136 // the guest's, for the server's data connection
	ftpContent = "what the server has\n"
)

// serveFTP has a host's address answer as an FTP server.
func serveFTP(t *testing.T, host *lab.Host, addr netip.Addr) *ftpServer {
	t.Helper()
	listener, err := host.Listen(netip.AddrPortFrom(addr, ftpPort))
	if err != nil {
		t.Fatal(err)
	}
	f := &ftpServer{host: host, addr: addr}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go f.session(conn)
		}
	}()
	return f
}

// session answers one client until it has no more to say.
func (f *ftpServer) session(conn net.Conn) {
	defer conn.Close()
	fmt.Fprint(conn, "220 here\r\n")
	var open func() (net.Conn, error)
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		answer := "200 well"
		command, argument, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		switch strings.ToUpper(command) {
		case "USER":
			answer = "230 no password"
		case "SIZE":
			answer = fmt.Sprintf("213 %d", len(ftpContent))
		case "PORT":
			open = f.active(argument)
		case "PASV":
			answer, open = f.passive()
		case "RETR":
			fmt.Fprint(conn, "150 it comes\r\n")
			answer = send(open)
		}
		fmt.Fprint(conn, answer+"\r\n")
	}
}

// active opens the data connection to where the client says.
func (f *ftpServer) active(argument string) func() (net.Conn, error) {
	var a [4]byte
	var high, low uint16
	_, err := fmt.Sscanf(argument, "%d,%d,%d,%d,%d,%d", &a[0], &a[1], &a[2], &a[3], &high, &low)
	return func() (net.Conn, error) {
		if err != nil {
			return nil, err
		}
		return f.host.Dial("tcp", netip.AddrPortFrom(netip.AddrFrom4(a), high<<8+low), f.wait)
	}
}

// passive says where the server waits for the data connection.
func (f *ftpServer) passive() (string, func() (net.Conn, error)) {
	listener, err := f.host.Listen(netip.AddrPortFrom(f.addr, 0))
	if err != nil {
		return "425 " + err.Error(), nil
	}
	port := listener.Addr().(*net.TCPAddr).Port
	where := fmt.Sprintf("%s,%d,%d", strings.ReplaceAll(f.addr.String(), ".", ","), port>>8, port&0xff)
	return "227 Entering Passive Mode (" + where + ")", listener.Accept
}

func send(open func() (net.Conn, error)) string {
	if open == nil {
		return "425 no data connection was asked for"
	}
	data, err := open()
	if err != nil {
		return "425 " + err.Error()
	}
	defer data.Close()
	if _, err := io.WriteString(data, ftpContent); err != nil {
		return "426 " + err.Error()
	}
	return "226 it has gone"
}

// expectFTP has a guest fetch the server's file: passive FTP works, and active FTP where peers may open its ports.
func expectFTP(t *testing.T, vm *hypervisor.VM, nic hypervisor.NIC, f *ftpServer, active bool) {
	t.Helper()
	f.wait = patience(active)
	script := fmt.Sprintf(`rm -f /active
nc -l -p %[1]d >/active 2>&1 &
until netstat -ltn | grep -q :%[1]d; do usleep 10000; done
printf 'PORT %[2]s,%[3]d,%[4]d\r\nRETR file\r\nQUIT\r\n' | nc %[5]s %[6]d
kill $!
wait
cat /active`, activePort, strings.ReplaceAll(nic.Addr4.Addr().String(), ".", ","), activePort>>8, activePort&0xff, f.addr, ftpPort)
	said := shell(t, vm, script)
	if got := strings.Contains(said, ftpContent); got != active {
		t.Errorf("active FTP: the file came: %t, want %t:\n%s", got, active, said)
	}
	if !active && !strings.Contains(said, "425 ") {
		t.Errorf("active FTP: the server has opened the data connection:\n%s", said)
	}
	if said := shell(t, vm, fmt.Sprintf("ftpget %s /passive file; cat /passive", f.addr)); said != ftpContent {
		t.Errorf("passive FTP: %s", said)
	}
}

// shell runs a script in a guest, and gives what it printed.
func shell(t *testing.T, vm *hypervisor.VM, script string) string {
	t.Helper()
	var said string
	if err := vm.Call(t.Context(), "Shell", script, &said); err != nil {
		t.Fatal(err)
	}
	return said
}
