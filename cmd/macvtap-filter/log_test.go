package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/ruleset"
)

// A logSite is a hypervisor with one device, the program, and a journal of its own.
type logSite struct {
	*testing.T
	n       *lab.Network
	tap     *lab.Tap
	program string
	config  string
	journal *net.UnixConn
}

const oddUUID = "0d3f7c1e-5b2a-4c61-9e0f-000000000001"

func newLogSite(t *testing.T, config string) *logSite {
	t.Helper()
	n, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	folder := t.TempDir()
	s := &logSite{T: t, n: n, program: filepath.Join(folder, "macvtap-filter"), config: filepath.Join(folder, "config.toml")}
	self, err := os.Executable()
	s.check(err)
	s.check(os.Symlink(self, s.program))
	s.check(os.WriteFile(s.config, []byte(config), 0o600))
	s.check(n.Hypervisor.Hide("/run"))
	s.check(n.Hypervisor.Overlay("/etc/resolv.conf", nil)) // no name servers, which is worth advice
	socket := filepath.Join(folder, "journal")
	s.check(n.Hypervisor.Run(exec.Command("sh", "-ec", `mkdir -p /run/systemd/journal; ln -s "$0" /run/systemd/journal/socket`, socket)))
	s.journal, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket})
	s.check(err)
	t.Cleanup(func() { _ = s.journal.Close() })
	s.tap, err = n.AddMacvtap("macvtap0", net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1})
	s.check(err)
	return s
}

func (s *logSite) check(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// hook calls the program for a VM of any name as libvirt does.
func (s *logSite) hook(name, operation, suboperation string) (stderr string, err error) {
	cmd := s.call(name, operation, suboperation)
	var said strings.Builder
	cmd.Stderr = &said
	err = s.n.Hypervisor.Run(cmd)
	return said.String(), err
}

func (s *logSite) call(name, operation, suboperation string) *exec.Cmd {
	cmd := exec.Command(s.program, name, operation, suboperation, "-")
	cmd.Env = append(os.Environ(), "MACVTAP_FILTER_CONFIG="+s.config)
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`<domain><name>%s</name><uuid>%s</uuid><devices>
		<interface type='direct'><mac address='%s'/><source dev='%s'/><target dev='%s'/></interface></devices></domain>`,
		escaped(name), oddUUID, s.tap.MAC, s.n.Parent, s.tap.Name))
	return cmd
}

// escaped writes any text as XML does: libvirt refuses some names, and nobody
// should have to rely on that.
func escaped(s string) string {
	var out strings.Builder
	for _, r := range s {
		fmt.Fprintf(&out, "&#x%x;", r)
	}
	return out.String()
}

// entries gives what the journal was sent so far, as journald reads it
// (systemd's docs/JOURNAL_NATIVE_PROTOCOL.md).
func (s *logSite) entries() []map[string]string {
	s.Helper()
	var out []map[string]string
	socket, err := s.journal.SyscallConn()
	s.check(err)
	buf := make([]byte, 1<<16)
	for {
		// What a process sent that has ended is there: there is nothing to wait for.
		var n int
		s.check(socket.Read(func(fd uintptr) bool {
			n, _, err = unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			return true
		}))
		if errors.Is(err, unix.EAGAIN) {
			return out
		}
		s.check(err)
		entry, err := parseEntry(buf[:n])
		s.check(err)
		out = append(out, entry)
	}
}

func parseEntry(data []byte) (map[string]string, error) {
	entry := map[string]string{}
	for len(data) > 0 {
		line, rest, ended := bytes.Cut(data, []byte("\n"))
		if !ended {
			return nil, fmt.Errorf("a line without an end: %q", line)
		}
		name, value, whole := strings.Cut(string(line), "=")
		data = rest
		if !whole {
			if len(data) < 8 {
				return nil, fmt.Errorf("the field %q without a length", name)
			}
			n := binary.LittleEndian.Uint64(data)
			if data = data[8:]; uint64(len(data)) <= n || data[n] != '\n' {
				return nil, fmt.Errorf("the field %q of %d bytes does not end", name, n)
			}
			value, data = string(data[:n]), data[n+1:]
		}
		if _, twice := entry[name]; twice {
			return nil, fmt.Errorf("the field %s twice", name)
		}
		entry[name] = value
	}
	return entry, nil
}

// oddNames are names of VMs: of every script, and such as would like to be more than
// a name.
var oddNames = []string{
	"web-1", "网关 一号", "сервер", "خادم", "שרת", "सर्वर", "🦊",
	"a\nVM=other\nMESSAGE=forged\nREASON=protected", "a\nmacvtap-filter: VM \"web-1\" is protected",
	"tab\tbell\u0085\u200b", "\u202eevil\u2066", `quote"back\slash$(reboot)%s`, strings.Repeat("长", 80),
}

// TestJournalFields shows that each entry says in fields of its own whose it is, and
// that no name can forge a field or a line, in the journal or on standard error.
func TestJournalFields(t *testing.T) {
	s := newLogSite(t, "parents = [\"enp88s0\"]\n[policy.default]\ndeny = [\"192.168.0.0/16\"]\nallow = [\"dns\"]\nipv6 = \"drop\"\n")
	for _, name := range oddNames {
		if said, err := s.hook(name, "start", "begin"); err != nil || said != "" {
			t.Fatalf("%q: %v: %s", name, err, said)
		}
		if said, err := s.hook(name, "stopped", "end"); err != nil || said != "" {
			t.Fatalf("%q: %v: %s", name, err, said)
		}
		var reasons []string
		for _, e := range s.entries() {
			reasons = append(reasons, e["REASON"])
			if e["VM"] != name || e["UUID"] != oddUUID || e["DEVICE"] != "macvtap0" || e["SYSLOG_IDENTIFIER"] != "macvtap-filter" {
				t.Errorf("%q: the entry %q", name, e)
			}
			if fields := slices.Sorted(maps.Keys(e)); !slices.Equal(fields, []string{"DEVICE", "MESSAGE", "PRIORITY", "REASON", "SYSLOG_IDENTIFIER", "UUID", "VM"}) {
				t.Errorf("%q: the fields %q", name, fields)
			}
			plain(t, e["MESSAGE"])
		}
		if diff := cmp.Diff([]string{"advice", "protected", "removed"}, reasons); diff != "" {
			t.Errorf("%q: -want +got:\n%s", name, diff)
		}
	}
	// What goes wrong is told, too, and to who called.
	if err := os.WriteFile(s.config, []byte("parents = [\"enp88s0\"]\n[policy.default]\nisolate = true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range oddNames {
		for operation, reason := range map[string]string{"start": "refused", "reconnect": "failed"} {
			said, err := s.hook(name, operation, "begin")
			if (err == nil) != (operation == "reconnect") || !strings.HasPrefix(said, "macvtap-filter: error: VM ") {
				t.Errorf("%q: %s: %v: %q", name, operation, err, said)
			}
			plain(t, strings.TrimSuffix(said, "\n"))
			got := s.entries()
			if len(got) != 1 || got[0]["VM"] != name || got[0]["UUID"] != oddUUID || got[0]["DEVICE"] != "macvtap0" || got[0]["REASON"] != reason || got[0]["PRIORITY"] != "3" {
				t.Errorf("%q: %s: the entries %q", name, operation, got)
			}
		}
	}
}

// plain wants one line that commands no terminal.
func plain(t *testing.T, message string) {
	t.Helper()
	for _, r := range message {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x200b && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			t.Errorf("%q has %U", message, r)
		}
	}
}

// TestNoSuchParent shows that who misspells the parents reads so in the log, and that no
// VM starts that this may open.
func TestNoSuchParent(t *testing.T) {
	for parents, want := range map[string]string{`"lo"`: "6", `"enp88s00", "eth*"`: "3"} {
		s := newLogSite(t, "parents = ["+parents+"]\n")
		said, err := s.hook("web", "start", "begin")
		if refused := err != nil && strings.Contains(said, `did you mean "enp88s0"?`); refused != (want != "6") {
			t.Fatalf("%v: %s", err, said)
		}
		var priorities []string
		for _, e := range s.entries() {
			priorities = append(priorities, e["PRIORITY"])
			if e["PRIORITY"] != "6" && !strings.Contains(e["MESSAGE"], "enp88s00") {
				t.Errorf("the entry %q: want it to name the parents", e)
			}
		}
		if got := strings.Join(priorities, " "); got != want {
			t.Errorf("parents %s: entries of priority %s, want %s", parents, got, want)
		}
	}
}

// TestHookNoteThatHangs shows that no file in /run holds a hook up.
func TestHookNoteThatHangs(t *testing.T) {
	s := newLogSite(t, "parents = [\"enp88s0\"]\n[policy.default]\ndeny = [\"192.168.0.0/16\"]\nallow = []\n")
	s.check(s.n.Hypervisor.Run(exec.Command("mkfifo", seenFile)))
	if said, err := s.hook("web", "start", "begin"); err != nil || said != "" {
		t.Errorf("%v: %s", err, said)
	}
}

// TestSilentJournal shows that a journal that takes nothing holds no hook up.
func TestSilentJournal(t *testing.T) {
	s := newLogSite(t, "parents = [\"enp88s0\"]\n[policy.default]\ndeny = [\"192.168.0.0/16\"]\nallow = []\nipv6 = \"drop\"\n")
	sender, err := net.DialUnix("unixgram", nil, s.journal.LocalAddr().(*net.UnixAddr))
	s.check(err)
	defer func() { _ = sender.Close() }()
	socket, err := sender.SyscallConn()
	s.check(err)
	s.check(socket.Write(func(fd uintptr) bool {
		for err == nil {
			err = unix.Sendto(int(fd), []byte("MESSAGE=full\n"), unix.MSG_DONTWAIT, nil)
		}
		return true
	}))
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatalf("the socket does not fill: %v", err)
	}
	s.program = filepath.Join(filepath.Dir(s.program), "shipped") // which waits for a log as long as it does for users
	self, err := os.Executable()
	s.check(err)
	s.check(os.Symlink(self, s.program))
	for _, call := range []string{"start begin", "reconnect begin", "stopped end"} {
		operation, suboperation, _ := strings.Cut(call, " ")
		if said, err := s.hook("web", operation, suboperation); err != nil || said != "" {
			t.Errorf("%s: %v: %s", call, err, said)
		}
	}
	for _, e := range s.entries() {
		if e["MESSAGE"] != "full" {
			t.Errorf("the socket had room for %q: this test shows nothing", e)
		}
	}
}

// TestHookByHand shows that a person at a terminal reads what libvirt has logged.
func TestHookByHand(t *testing.T) {
	s := newLogSite(t, "parents = [\"enp88s0\"]\n[policy.default]\ndeny = [\"192.168.0.0/16\"]\nallow = []\nipv6 = \"drop\"\n")
	person, program := openTerminal(t, 80)
	cmd := s.call("a\nb", "start", "begin")
	cmd.Stderr = program
	s.check(s.n.Hypervisor.Run(cmd))
	if got, want := seen(t, person, program), "macvtap-filter: VM \"a\\nb\": interface \"macvtap0\" is protected\r\n"; got != want {
		t.Errorf("the terminal shows %q, want %q", got, want)
	}
	if got := s.entries(); len(got) > 0 {
		t.Errorf("the journal has %q, too", got)
	}
}

// TestDroppedLog shows that a frame that was dropped under log = true stands in the
// kernel's log, where the filters of the man page find it, whatever the VM is called.
func TestDroppedLog(t *testing.T) {
	kmsg := kernelLog(t)
	s := newLogSite(t, "parents = [\"enp88s0\"]\n[policy.default]\ndeny = [\"192.168.0.0/16\"]\nallow = []\nipv6 = \"drop\"\nlog = true\n")
	s.check(errors.Join(s.tap.Up(), s.tap.Open()))
	all, one := documentedFilters(t)
	s.floods(kmsg)
	for _, name := range oddNames {
		if said, err := s.hook(name, "reconnect", "begin"); err != nil || said != "" {
			t.Fatalf("%q: %v: %s", name, err, said)
		}
		s.entries()                                               // it has no room for all, and the next hook would wait
		denied := udpFrom(s.tap.MAC, net.IPv4(192, 168, 213, 77)) // of no other test, whose lines are in the log, too
		seen, err := s.n.Watch(func() error { return s.tap.Send(denied) })
		s.check(err)
		if seen.OnWire(denied) {
			t.Errorf("%q: a denied frame arrived", name)
		}
		line := awaitKernel(t, kmsg, func(line string) bool { return strings.Contains(line, "DST=192.168.213.77") })
		t.Log(line)
		if !all.MatchString(line) || !regexp.MustCompile(fmt.Sprintf(one, regexp.QuoteMeta(logName(name)))).MatchString(line) {
			t.Errorf("%q: the man page's filters %s and %s do not find the line: %s", name, all, one, line)
		}
		want := regexp.MustCompile(`^macvtap-filter from-vm REASON=denied-ipv4 DEVICE=macvtap0 VM=\S+ IN= OUT=macvtap0 .*SRC=203\.0\.113\.1 DST=192\.168\.213\.77 .*PROTO=UDP SPT=40000 DPT=53 `)
		if !want.MatchString(line) {
			t.Errorf("%q: the line %q, want %s", name, line, want)
		}
	}
}

// TestConflictLog has another host object to the address that a VM took, where addresses are
// learned: the kernel's log says so, with both MAC addresses.
func TestConflictLog(t *testing.T) {
	kmsg := kernelLog(t)
	s := newLogSite(t, "parents = [\"enp88s0\"]\n[policy.default]\ndeny = [\"192.168.0.0/16\"]\n")
	s.check(errors.Join(s.tap.Up(), s.tap.Open()))
	other := net.HardwareAddr{2, 0, 0, 0, 2, 0x4d}
	if said, err := s.hook("web-1", "start", "begin"); err != nil || said != "" {
		t.Fatalf("%v: %s", err, said)
	}
	its := []byte{192, 168, 214, 1} // of no other test, whose lines are in the log, too
	announces := func(mac net.HardwareAddr) []byte {
		frame := slices.Concat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, []byte(mac), []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, []byte(mac), its)
		return slices.Concat(frame, make([]byte, 6), its, make([]byte, 18))
	}
	_, err := s.n.FromVM(s.tap, announces(s.tap.MAC)) // it becomes a probe
	s.check(err)
	_, err = s.n.ToVM(s.tap, announces(other))
	s.check(err)
	line := awaitKernel(t, kmsg, func(line string) bool { return strings.Contains(line, "IPSRC=192.168.214.1 ") })
	want := regexp.MustCompile("^macvtap-filter to-vm REASON=address-conflict IN=macvtap0 .*MACSRC=" + other.String())
	if !want.MatchString(line) {
		t.Errorf("the line %q, want %s", line, want)
	}
}

// floods shows that a VM that sends without end does not fill the log: of a thousand
// frames that a rule drops, a few are logged.
func (s *logSite) floods(kmsg *os.File) {
	s.Helper()
	if said, err := s.hook("flood", "reconnect", "begin"); err != nil || said != "" {
		s.Fatalf("%v: %s", err, said)
	}
	const frames = 1000
	began := time.Now()
	s.send(frames, udpFrom(s.tap.MAC, net.IPv4(192, 168, 213, 78)))
	took := time.Since(began)
	// The rule for the last frame is another one's, whose turn in the log comes after.
	s.send(1, append(append(append([]byte{2, 0, 0, 0, 0, 0x77}, s.tap.MAC...), 0x88, 0xcc), make([]byte, 46)...))
	logged := 0
	awaitKernel(s.T, kmsg, func(line string) bool {
		if strings.Contains(line, "DST=192.168.213.78") {
			logged++
		}
		return strings.Contains(line, "REASON=ethertype DEVICE=macvtap0 VM=flood ")
	})
	if most := 5 + 5*(1+int(took.Seconds())); logged == 0 || logged > most {
		s.Errorf("%d of %d frames in %s are logged, want %d at most", logged, frames, took, most)
	}
}

// logName is the name as the kernel's log has it.
func logName(name string) string {
	const words = "macvtap-filter from-vm REASON=denied-ipv4 DEVICE=macvtap0 VM="
	return strings.TrimSpace(strings.TrimPrefix(ruleset.LogPrefix(words, name), words))
}

// documentedFilters gives the patterns that the man page gives to journalctl, of all
// lines and of one VM's, with its name as %s.
func documentedFilters(t *testing.T) (all *regexp.Regexp, one string) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "internal", "packaging", "man", "macvtap-filter.8"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^\.Dl journalctl -k --grep='(.*)'$`).FindAllSubmatch(page, -1)
	if len(found) != 2 || strings.Count(string(found[1][1]), "web-1") != 1 {
		t.Fatalf("the man page filters the kernel's log by %q, want one pattern of all lines and one of the VM web-1", found)
	}
	return regexp.MustCompile(string(found[0][1])), strings.ReplaceAll(string(found[1][1]), "web-1", "%s")
}

// kernelLog opens the kernel's log at its end, and has namespaces log there.
func kernelLog(t *testing.T) *os.File {
	t.Helper()
	kmsg, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err == nil {
		t.Cleanup(func() { _ = kmsg.Close() })
		_, err = kmsg.Seek(0, 2)
	}
	if err == nil {
		err = logAllNamespaces(t)
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("NOT RUN: the kernel's log of a namespace cannot be read here: %v", err)
	}
	return kmsg
}

// awaitKernel waits for a line of the kernel's log (Documentation/ABI/testing/dev-kmsg).
func awaitKernel(t *testing.T, kmsg *os.File, wanted func(line string) bool) string {
	t.Helper()
	buf := make([]byte, 8192)
	for end := time.Now().Add(bound); time.Now().Before(end); {
		n, err := unix.Read(int(kmsg.Fd()), buf)
		if errors.Is(err, unix.EAGAIN) {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		if errors.Is(err, unix.EPIPE) {
			continue // lines were lost, and the next read has what comes after
		}
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := strings.Cut(string(buf[:n]), ";")
		text, _, _ = strings.Cut(text, "\n")
		if line := unescapeKernel(text); wanted(line) {
			return line
		}
	}
	t.Fatal("the kernel logs no such frame")
	return ""
}

// unescapeKernel reads what the kernel writes as \xhh, as journald and dmesg do.
func unescapeKernel(s string) string {
	return regexp.MustCompile(`\\x[0-9a-f]{2}`).ReplaceAllStringFunc(s, func(code string) string {
		b, _ := hex.DecodeString(code[2:])
		return string(b)
	})
}

// logAllNamespaces has the kernel log frames that namespaces other than the first drop,
// too, until the test ends.
func logAllNamespaces(t *testing.T) error {
	const file = "/proc/sys/net/netfilter/nf_log_all_netns"
	was, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	t.Cleanup(func() {
		if err := os.WriteFile(file, was, 0); err != nil {
			t.Error(err)
		}
	})
	return os.WriteFile(file, []byte("1"), 0)
}
