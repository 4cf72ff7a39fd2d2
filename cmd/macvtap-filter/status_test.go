package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rivo/uniseg"
	"golang.org/x/sys/unix"

	"macvtap-filter/internal/lab"
)

// A statusHost is a hypervisor with two VMs.
type statusHost struct {
	*testing.T
	n       *lab.Network
	program string
	config  string
	taps    []*lab.Tap
}

func newStatusHost(t *testing.T) *statusHost {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root")
		}
		t.Skip("SKIPPED: needs root, nothing was tried in the kernel")
	}
	n, err := lab.New(lab.Options{Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.2.2/24")}, Gateways: []netip.Addr{netip.MustParseAddr("192.168.2.1")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h := &statusHost{T: t, n: n, program: filepath.Join(t.TempDir(), "macvtap-filter"), config: filepath.Join(t.TempDir(), "config.toml")}
	// The test is the program when it is called by its name (see TestMain).
	err = errors.Join(os.Symlink(self, h.program), os.WriteFile(h.config, []byte("parents = [\"enp88s0\"]\n"), 0o600),
		n.Hypervisor.Hide("/run/systemd/journal"), n.Hypervisor.Overlay("/dev/log", nil))
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"数据库-主", "shop"} {
		tap, err := n.AddMacvtap(fmt.Sprintf("macvtap%d", i), net.HardwareAddr{0x52, 0x54, 0, 0, 0, byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		h.taps = append(h.taps, tap)
		hook := h.command(name, "start", "begin", "-")
		hook.Stdin = strings.NewReader(fmt.Sprintf(`<domain><name>%s</name><uuid>0d3f7c1e-5b2a-4c61-9e0f-%012x</uuid><devices>
<interface type='direct'><mac address='%s'/><source dev='enp88s0'/><target dev='%s'/></interface></devices></domain>`, name, i, tap.MAC, tap.Name))
		if err := errors.Join(n.Hypervisor.Run(hook), tap.Up(), tap.Open()); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (h *statusHost) command(args ...string) *exec.Cmd {
	cmd := exec.Command(h.program, args...)
	cmd.Env = []string{"MACVTAP_FILTER_CONFIG=" + h.config, "TERM=xterm"}
	// There is no /dev/null where it runs.
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(""), io.Discard, io.Discard
	return cmd
}

// send sends frames with a VLAN tag, which no rule lets pass.
func (h *statusHost) send(tap *lab.Tap, frames int) {
	h.Helper()
	for range frames {
		if err := tap.Send(append([]byte{2, 0, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, byte(tap.MAC[5]), 0x81, 0x00}, make([]byte, 50)...)); err != nil {
			h.Fatal(err)
		}
	}
}

// colourful finds what colours.
var colourful = regexp.MustCompile("\x1b\\[[0-9;]*m")

// TestStatusOnTerminal shows status on terminals: it fits each, is coloured on those that
// know how for those who want it, and on nothing else.
func TestStatusOnTerminal(t *testing.T) {
	h := newStatusHost(t)
	h.send(h.taps[0], 3)
	for _, c := range []struct {
		columns  uint16
		env      string
		coloured bool
		want     string
	}{
		{40, "", true, "dropped: 3"},
		{40, "NO_COLOR=1", false, "from the VM: vlan 3"},
		{40, "NO_COLOR=", true, "数据库-主"},
		{120, "", true, "PARENT"},
		{120, "TERM=dumb", false, "dropped from the VM: vlan 3"},
		{120, "TERM=", false, "enp88s0"},
		{20, "", true, "protected"},
	} {
		t.Run(fmt.Sprint(c.columns, c.env), func(t *testing.T) {
			person, terminal := openTerminal(t, c.columns)
			cmd := h.command("status")
			if c.env != "" {
				cmd.Env = append(cmd.Env, c.env)
			}
			cmd.Stdout = terminal
			if err := h.n.Hypervisor.Run(cmd); err != nil {
				t.Fatal(err)
			}
			text := seen(t, person, terminal)
			if colourful.MatchString(text) != c.coloured {
				t.Errorf("coloured: %v, want %v: %q", !c.coloured, c.coloured, text)
			}
			text = colourful.ReplaceAllString(text, "")
			if strings.Contains(text, "\x1b") || !strings.Contains(text, c.want) {
				t.Errorf("no %q in, or a sequence: %q", c.want, text)
			}
			for line := range strings.Lines(text) {
				if w := uniseg.StringWidth(strings.TrimRight(line, "\r\n")); w > int(c.columns) {
					t.Errorf("a line of %d columns: %q", w, line)
				}
			}
		})
	}
}

// TestStatusWatch shows --watch on a terminal: it shows what passes each second, follows
// the terminal's size, gives it back when it is stopped and takes it again, and leaves
// it as it was when it is interrupted.
func TestStatusWatch(t *testing.T) {
	h := newStatusHost(t)
	person, terminal := openTerminal(t, 100)
	cmd := h.command("status", "--watch=0.1")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = terminal, &said
	if err := h.n.Hypervisor.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	s := &screen{T: t}
	go s.follow(person)

	s.until("it takes the other screen, and shows no rates yet", func(text string) bool {
		return strings.HasPrefix(text, enterPage) && strings.Contains(text, "DROPPED/s") && strings.Contains(text, "shop")
	})
	s.forget()
	h.send(h.taps[0], 50)
	s.until("it shows that frames are dropped", func(text string) bool {
		return regexp.MustCompile(`数据库-主 .* 50 +[1-9][0-9.]* `).MatchString(colourful.ReplaceAllString(text, ""))
	})
	s.forget()
	s.until("and then that none are", func(text string) bool {
		return regexp.MustCompile(`数据库-主 .* 50 +0 `).MatchString(colourful.ReplaceAllString(text, ""))
	})

	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 40}); err != nil {
		t.Fatal(err)
	}
	s.forget()
	signalTo(t, cmd, syscall.SIGWINCH) // the terminal is nobody's own here, so that nobody is told
	s.until("it follows the terminal's size", func(text string) bool {
		return strings.Contains(text, "dropped: 50") && !strings.Contains(text, enterPage)
	})

	s.forget()
	signalTo(t, cmd, syscall.SIGTSTP)
	s.until("stopped, it gives the screen back", func(text string) bool { return strings.HasSuffix(text, leavePage) })
	stopped(t, cmd.Process.Pid)
	s.forget()
	signalTo(t, cmd, syscall.SIGCONT)
	s.until("and takes it again", func(text string) bool { return strings.HasPrefix(text, enterPage) })

	signalTo(t, cmd, syscall.SIGINT)
	if err := cmd.Wait(); err != nil || said.Len() > 0 {
		t.Errorf("%v, it said %q", err, said.String())
	}
	s.until("interrupted, it leaves the terminal as it was", func(text string) bool { return strings.HasSuffix(text, leavePage) })
}

// TestStatusWatchKeys types at --watch: it scrolls, sorts and quits, and leaves the keyboard as
// it was.
func TestStatusWatchKeys(t *testing.T) {
	h := newStatusHost(t)
	h.send(h.taps[0], 3)
	person, terminal := openTerminal(t, 100)
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 10, Col: 100}); err != nil {
		t.Fatal(err)
	}
	modes := func() unix.Termios {
		t.Helper()
		now, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		return *now
	}
	usual := modes()
	cmd := h.command("status", "--watch=0.1")
	var said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, &said
	if err := h.n.Hypervisor.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	s := &screen{T: t}
	go s.follow(person)
	// A page is whole when the next one begins.
	shows := func(what, vm string) {
		t.Helper()
		other := map[string]string{"shop": "数据库-主", "数据库-主": "shop"}[vm]
		s.forget()
		s.until(what, func(text string) bool {
			pages := strings.Split(colourful.ReplaceAllString(text, ""), firstLine)
			return slices.ContainsFunc(pages[:len(pages)-1], func(page string) bool {
				return strings.Contains(page, "\n"+endOfLine+vm) && !strings.Contains(page, other) && strings.Contains(page, "VM ")
			})
		})
	}
	press := func(keys string) {
		t.Helper()
		if _, err := person.WriteString(keys); err != nil {
			t.Fatal(err)
		}
	}
	shows("it shows the first", "shop")
	if now := modes(); now.Lflag&(unix.ICANON|unix.ECHO) != 0 || now.Lflag&unix.ISIG == 0 {
		t.Errorf("the keyboard's modes are %x", now.Lflag)
	}
	press("\x1b[B")
	shows("down, the second", "数据库-主")
	press("k")
	shows("up, the first", "shop")
	press("\x1b[6~")
	shows("a page down, the last", "数据库-主")
	press("g")
	shows("home, the first", "shop")
	press("ss")
	shows("by what was dropped, the other is first", "数据库-主")
	press("G")
	shows("and this the last", "shop")

	press("q")
	if err := cmd.Wait(); err != nil || said.Len() > 0 {
		t.Errorf("%v, it said %q", err, said.String())
	}
	s.until("it leaves the terminal as it was", func(text string) bool { return strings.HasSuffix(text, leavePage) })
	if modes() != usual {
		t.Errorf("the keyboard's modes are %+v, and were %+v", modes(), usual)
	}
}

// TestKeys takes apart what keys send, also when it comes at once, and lets alone what it does not know.
func TestKeys(t *testing.T) {
	got := keysIn([]byte("j\x1b[A\x1bOBq\x1b[1;5C\x1b[5~s\x1b"))
	if want := []string{"j", "up", "down", "q", "\x1b[1;5C", "page up", "s", "\x1b"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestStatusWatchInPipe shows --watch where there is no terminal: block after block, or
// JSON line by line, without a sequence, until it is interrupted.
func TestStatusWatchInPipe(t *testing.T) {
	h := newStatusHost(t)
	for _, args := range [][]string{{"status", "--watch=0.1"}, {"status", "--watch=0.1", "--json", "shop"}} {
		cmd := h.command(args...)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout = w
		if err := h.n.Hypervisor.Start(cmd); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		w.Close()
		s := &screen{T: t}
		go s.follow(r)
		s.until("it looks three times", func(text string) bool {
			return strings.Count(text, "macvtap-filter status, ") >= 3 || strings.Count(text, "{\"schema\":1,") >= 3
		})
		signalTo(t, cmd, syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		if s.contains("\x1b") || s.contains("数据库") != (len(args) == 2) {
			t.Errorf("%q shows %q", args, s.text)
		}
		r.Close()
	}
}

func signalTo(t *testing.T, cmd *exec.Cmd, s syscall.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// stopped waits until a process is (proc_pid_stat(5)).
func stopped(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(bound); ; time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && bytes.Contains(stat, []byte(") T ")) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it never stops: %s: %v", stat, err)
		}
	}
}

// A screen is what a person saw.
type screen struct {
	*testing.T
	mu   sync.Mutex
	text string
}

func (s *screen) follow(r io.Reader) {
	buffer := make([]byte, 4096)
	for {
		n, err := r.Read(buffer)
		s.mu.Lock()
		s.text += string(buffer[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *screen) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = ""
}

func (s *screen) contains(part string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.text, part)
}

func (s *screen) until(what string, happened func(text string) bool) {
	s.Helper()
	for end := time.Now().Add(bound); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		text := s.text
		s.mu.Unlock()
		if happened(text) {
			return
		}
		if time.Now().After(end) {
			s.Fatalf("never: %s: %q", what, text[max(0, len(text)-2000):])
		}
	}
}
