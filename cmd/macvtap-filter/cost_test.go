package main

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"macvtap-filter/internal/lab"
)

// TestCostOfAStart bounds what a VM's first start asks of the kernel, in counts that
// are the same on any machine, and names what else it may touch: no start reads what
// only commands need, or asks libvirt, which waits for it. Threads of the runtime come
// and go, so nothing of theirs is counted. Who lowers a count lowers its bound; who must
// raise one says why.
func TestCostOfAStart(t *testing.T) {
	s := newCostSite(t)
	trace := s.start(t)
	t.Logf("%d calls:\n%s", len(trace), trace)

	netlink := trace.about("AF_NETLINK")
	sent := slices.Concat(netlink.named("sendto"), netlink.named("sendmsg"))
	opened := trace.named("openat").filtered(func(c sysCall) bool { return !ofRuntime(c.path()) })
	bytes := 0
	for _, c := range sent {
		bytes += c.result(t)
	}
	for _, cost := range []struct {
		name      string
		got, most int
	}{
		{"programs executed", len(trace.named("execve")), 1},
		{"files opened", len(opened), 7}, // two for what is trusted, one to see that there is no conf.d
		{"netlink sockets", len(trace.named("socket").about("AF_NETLINK")), 4},
		{"netlink datagrams sent", len(sent), 16},
		{"bytes of netlink sent", bytes, 170_500}, // of the first VM of a policy; 60 kB of them learn its addresses
		{"calls that receive", len(trace.named("recvfrom")) + len(trace.named("recvmsg")), 20},
		{"calls of bpf(2)", len(trace.named("bpf")), 4},
		{"calls of ioctl(2)", len(trace.named("ioctl")), 2},
		{"calls of close(2)", len(trace.named("close")), 18}, // one of the switch that silences the host's IPv6
		{"calls of fcntl(2)", len(trace.named("fcntl")), 32},
		{"calls of bind(2)", len(trace.named("bind")), 5},
		{"calls of getsockname(2)", len(trace.named("getsockname")), 12},
		{"calls of setsockopt(2)", len(trace.named("setsockopt")), 7}, // one for room to send all that in one piece, two that keep refusals short
		{"calls of stat(2) and its like", len(trace.named("newfstatat")) + len(trace.named("fstat")) + len(trace.named("statx")), 6},
	} {
		t.Logf("%s: %d of at most %d", cost.name, cost.got, cost.most)
		if cost.got > cost.most || cost.got == 0 {
			t.Errorf("%d %s, want at most %d (the calls: go test -run %s -v)", cost.got, cost.name, cost.most, t.Name())
		}
	}
	for _, c := range opened {
		if !slices.Contains(s.mayOpen, c.path()) && !strings.HasPrefix(c.path(), "/run/macvtap-filter-generation-") {
			t.Errorf("a start opens %q, want none but %q", c.path(), s.mayOpen)
		}
	}
	if asked := trace.named("connect").about("libvirt"); len(asked) > 0 {
		t.Errorf("a start asks libvirt, which waits for it:\n%s", asked)
	}
}

// ofRuntime reports whether any Go program opens a file.
func ofRuntime(path string) bool {
	return slices.Contains([]string{"/proc/self/cgroup", "/proc/self/mountinfo"}, path) ||
		strings.HasPrefix(path, "/sys/fs/cgroup/") || strings.HasPrefix(path, "/sys/kernel/mm/transparent_hugepage/")
}

// TestCostOfInitialising bounds what packages do before main, for every hook call,
// whatever it is for: a package that only commands need costs a VM's start, too.
func TestCostOfInitialising(t *testing.T) {
	cmd := exec.Command(build(t), "web", "prepare", "begin", "-") // which does nothing
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	type initialised struct {
		name               string
		bytes, allocations int
	}
	var all []initialised
	allocations, bytes := 0, 0
	for _, m := range regexp.MustCompile(`(?m)^init (\S+) .* (\d+) bytes, (\d+) allocs$`).FindAllStringSubmatch(string(said), -1) {
		p := initialised{name: m[1]}
		p.bytes, _ = strconv.Atoi(m[2])
		p.allocations, _ = strconv.Atoi(m[3])
		all = append(all, p)
		allocations += p.allocations
		bytes += p.bytes
	}
	slices.SortFunc(all, func(a, b initialised) int { return cmp.Compare(b.allocations, a.allocations) })
	const mostPackages, mostAllocations, mostBytes = 56, 300, 63_000
	t.Logf("%d packages, %d allocations, %d bytes", len(all), allocations, bytes)
	if len(all) == 0 || len(all) > mostPackages || allocations > mostAllocations || bytes > mostBytes {
		t.Errorf("%d packages initialise themselves, with %d allocations of %d bytes, want at most %d, %d, %d; those that allocate most: %+v",
			len(all), allocations, bytes, mostPackages, mostAllocations, mostBytes, all[:min(len(all), 8)])
	}
}

// TestHookLinksNoCrypto holds what initialises itself at length, and what a hook maps and
// never runs, out of the program: no command speaks TLS, SSH or HTTP to others, and one
// hash of package crypto brings 26 packages along.
func TestHookLinksNoCrypto(t *testing.T) {
	listed, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages := strings.Fields(string(listed))
	if !slices.Contains(packages, "macvtap-filter/internal/libvirt/rpc") {
		t.Fatal("the program is not among what is listed")
	}
	heavy := regexp.MustCompile(`^(crypto|net/http|golang\.org/x/crypto|github\.com/digitalocean)(/|$)`)
	for _, name := range packages {
		if heavy.MatchString(name) {
			t.Errorf("the hook links %s (who needs it: go list -deps -f '{{.ImportPath}}: {{.Imports}}' ./cmd/macvtap-filter)", name)
		}
	}
}

// build builds the program, as this test's own binary holds more.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "macvtap-filter")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, said)
	}
	return program
}

// A costSite is a hypervisor with the device of a VM that starts.
type costSite struct {
	network         *lab.Network
	tap             *lab.Tap
	program, config string
	mayOpen         []string
}

func newCostSite(t *testing.T) *costSite {
	t.Helper()
	needTracer(t)
	network, err := lab.New(lab.Options{
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.2.2/24")},
		Gateways:  []netip.Addr{netip.MustParseAddr("192.168.2.1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = network.Close() })
	s := &costSite{network: network, program: build(t), config: filepath.Join(t.TempDir(), "config.toml")}
	if err := os.WriteFile(s.config, []byte("parents = [\"enp88s0\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := network.Hypervisor.Hide("/run"); err != nil {
		t.Fatal(err)
	}
	if err := takeJournal(t, network); err != nil {
		t.Fatal(err)
	}
	if err := network.Hypervisor.Overlay("/etc/resolv.conf", []byte("nameserver 192.168.2.53\n")); err != nil {
		t.Fatal(err)
	}
	if s.tap, err = network.AddMacvtap("macvtap0", net.HardwareAddr{0x52, 0x54, 0, 0x6a, 0x10, 1}); err != nil {
		t.Fatal(err)
	}
	s.mayOpen = []string{s.config, filepath.Join(filepath.Dir(s.config), "conf.d"), "/etc/resolv.conf", "/run/macvtap-filter-hook", "/run/macvtap-filter.lock", "/proc/sys/net/ipv6/conf/macvtap0/disable_ipv6"}
	return s
}

// takeJournal has a hypervisor whose /run is hidden log where somebody listens, as a host
// with a journal does.
func takeJournal(t *testing.T, network *lab.Network) error {
	socket := filepath.Join(t.TempDir(), "journal")
	journal, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket})
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = journal.Close() })
	return network.Hypervisor.Run(exec.Command("sh", "-ec", `mkdir -p /run/systemd/journal; ln -s "$0" /run/systemd/journal/socket`, socket))
}

func needTracer(t *testing.T) {
	t.Helper()
	needRootAndNFT(t)
	if _, err := exec.LookPath("strace"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("NOT RUN: strace is missing")
		}
		t.Skip("NOT RUN: strace is missing, by which system calls are counted")
	}
}

// start gives the system calls of a VM's first start.
func (s *costSite) start(t *testing.T) sysCalls {
	t.Helper()
	traced := filepath.Join(t.TempDir(), "trace")
	const counted = "trace=execve,openat,socket,connect,sendto,sendmsg,recvfrom,recvmsg,bpf,ioctl,close,fcntl,bind,getsockname,setsockopt,newfstatat,fstat,statx"
	cmd := exec.Command("strace", "-f", "-qq", "-s", "200", "-e", counted, "-e", "signal=none", "-o", traced, "--",
		s.program, "web", "start", "begin", "-")
	cmd.Env = append(os.Environ(), "MACVTAP_FILTER_CONFIG="+s.config)
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`<domain><name>web</name><uuid>4b1d2f6a-6c1d-4c5e-9d3b-7a0f3f2e9c11</uuid><devices>
<interface type='direct'><mac address='%s'/><source dev='%s' mode='bridge'/><target dev='%s'/></interface></devices></domain>`,
		s.tap.MAC, s.network.Parent, s.tap.Name))
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := s.network.Hypervisor.Run(cmd); err != nil || said.Len() > 0 {
		t.Fatalf("%v: %s", err, said.String())
	}
	text, err := os.ReadFile(traced)
	if err != nil {
		t.Fatal(err)
	}
	return parseTrace(string(text))
}

// A sysCall is a line of strace's, without the thread's number.
type sysCall string

type sysCalls []sysCall

// parseTrace reads what strace -f writes. Where it was interrupted by another thread,
// it writes a call's end on a line of its own.
func parseTrace(text string) sysCalls {
	var all sysCalls
	begun := map[string]int{} // by the thread
	for line := range strings.Lines(text) {
		thread, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		if end, ok := strings.CutPrefix(rest, "<... "); ok {
			_, end, _ = strings.Cut(end, " resumed>")
			if i, ok := begun[thread]; ok {
				all[i] += sysCall(end)
			}
			continue
		}
		if begin, ok := strings.CutSuffix(rest, " <unfinished ...>"); ok {
			begun[thread], rest = len(all), begin
		}
		all = append(all, sysCall(rest))
	}
	return all
}

func (all sysCalls) filtered(keep func(sysCall) bool) sysCalls {
	return slices.Collect(func(yield func(sysCall) bool) {
		for _, c := range all {
			if keep(c) && !yield(c) {
				return
			}
		}
	})
}

func (all sysCalls) named(name string) sysCalls {
	return all.filtered(func(c sysCall) bool { return strings.HasPrefix(string(c), name+"(") })
}

func (all sysCalls) about(word string) sysCalls {
	return all.filtered(func(c sysCall) bool { return strings.Contains(string(c), word) })
}

func (all sysCalls) String() string {
	const most = 160 // a netlink message goes on for pages
	var b strings.Builder
	for _, c := range all {
		b.WriteString(string(c[:min(len(c), most)]) + "\n")
	}
	return b.String()
}

// result is what the call gave.
func (c sysCall) result(t *testing.T) int {
	t.Helper()
	_, text, _ := strings.Cut(string(c)[strings.LastIndex(string(c), ")")+1:], "= ")
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		t.Fatalf("%q: %v", c, err)
	}
	return n
}

// path is the first string among the call's arguments.
func (c sysCall) path() string {
	_, rest, _ := strings.Cut(string(c), `"`)
	path, _, _ := strings.Cut(rest, `"`)
	return path
}
