package packaging

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/drift"
	"macvtap-filter/internal/facts"
)

// The manual page of the configuration has every key of the reference, and no other.
func TestManualHasEveryKey(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("man", "macvtap-filter.toml.5"))
	if err != nil {
		t.Fatal(err)
	}
	known, told := map[string]bool{}, map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#?([a-z_0-9]+) *= `).FindAllStringSubmatch(config.Reference, -1) {
		known[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`(?m)^\.It Ic (\S+)$`).FindAllStringSubmatch(string(page), -1) {
		told[m[1]] = true
	}
	if len(known) < 20 {
		t.Fatalf("the reference has only the keys %v", known)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(known)), slices.Sorted(maps.Keys(told))); diff != "" {
		t.Errorf("keys (-in the reference +in the manual page):\n%s", diff)
	}
}

// The manual page has every field of what verify and facts print as JSON, and no other;
// status has a test of its own.
func TestManualHasEveryField(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("man", "macvtap-filter.8"))
	if err != nil {
		t.Fatal(err)
	}
	for name, known := range map[string][]string{
		"VERIFY": append(fields(reflect.TypeFor[drift.Finding]()), "repaired"),
		"FACTS":  fields(reflect.TypeFor[facts.Facts]()),
	} {
		_, section, _ := strings.Cut(string(page), "\n.Sh "+name+"\n")
		section, _, _ = strings.Cut(section, "\n.Sh ")
		var told []string
		for _, item := range regexp.MustCompile(`(?m)^\.It Va (.*)$`).FindAllStringSubmatch(section, -1) {
			told = append(told, strings.Split(item[1], " , ")...)
		}
		slices.Sort(known)
		slices.Sort(told)
		if diff := cmp.Diff(known, told); diff != "" {
			t.Errorf("%s: fields (-in JSON +in the manual page):\n%s", name, diff)
		}
	}
}

// fields gives the names of a structure's fields in JSON.
func fields(of reflect.Type) []string {
	var names []string
	for field := range of.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "-" {
			names = append(names, name)
		}
	}
	return names
}

// Neither of the two programs that show manual pages finds a fault with ours.
func TestManualIsRight(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join("man", "*.[58]"))
	if err != nil || len(pages) != 2 {
		t.Fatalf("manual pages: %q, %v", pages, err)
	}
	for _, page := range pages {
		for _, lint := range [][]string{
			{"mandoc", "-Tlint", "-Wwarning", page},
			{"man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page},
		} {
			t.Run(lint[0]+" "+filepath.Base(page), func(t *testing.T) {
				needs(t, lint[0])
				cmd := exec.Command(lint[0], lint[1:]...)
				cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANPAGER=cat")
				var said strings.Builder
				cmd.Stderr = &said
				if lint[0] == "mandoc" {
					cmd.Stdout = &said
				}
				if err := cmd.Run(); err != nil || said.Len() > 0 {
					t.Errorf("%v\n%s", err, &said)
				}
			})
		}
	}
}

// The NIC of the default route is the one of the lowest metric.
func TestDefaultNIC(t *testing.T) {
	for _, test := range []struct{ name, routes, routes6, want string }{
		{"none", "Iface\tDestination\n", "", ""},
		{"by metric", route("wlan0", "00000000", 600) + route("eth1", "0002A8C0", 0) + route("eth0", "00000000", 100), "", "eth0"},
		{"IPv6 alone", "Iface\tDestination\n", route6("lo") + route6("eth6"), "eth6"},
	} {
		t.Run(test.name, func(t *testing.T) {
			folder := t.TempDir()
			text, err := os.ReadFile("setup.sh")
			if err != nil {
				t.Fatal(err)
			}
			script := string(text)
			for name, content := range map[string]string{"/proc/net/route": test.routes, "/proc/net/ipv6_route": test.routes6} {
				file := filepath.Join(folder, filepath.Base(name))
				if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
				script = strings.ReplaceAll(script, " "+name, " "+file)
			}
			out, err := exec.Command("sh", "-euc", script+"\ndefault_nic").CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got := strings.TrimSpace(string(out)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// route is a line of /proc/net/route after its head, route6 one of /proc/net/ipv6_route.
func route(nic, destination string, metric int) string {
	head := ""
	if nic == "wlan0" {
		head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
	}
	mask := "00000000"
	if destination != mask {
		mask = "00FFFFFF"
	}
	return head + strings.Join([]string{nic, destination, "0102A8C0", "0003", "0", "0", strconv.Itoa(metric), mask, "0", "0", "0"}, "\t") + "\n"
}

func route6(nic string) string {
	zero := strings.Repeat("0", 32)
	return zero + " 00 " + zero + " 00 " + zero + " 00000400 00000001 00000000 00000003 " + nic + "\n"
}

// A daemon runs hooks if one was there before it started, whatever the dates on the
// file say.
func TestRunsHooks(t *testing.T) {
	const self, first = "$$", "1" // a process that has just started, and the oldest
	for _, test := range []struct{ name, make, pid, except, want, driver string }{
		{"none", "", self, "", "no", ""},
		{"older", "ln -s /bin/sh qemu.d/other", self, "", "yes", ""},
		{"older, by the old name", "ln -s /bin/sh qemu", self, "", "yes", ""},
		{"older, but not executable", "ln -s /etc/passwd qemu.d/other", self, "", "no", ""},
		{"older, but not to count", "ln -s /bin/sh qemu.d/macvtap-filter", self, "macvtap-filter", "no", ""},
		{"newer", "touch qemu.d/new; chmod 755 qemu.d/new", first, "", "no", ""},
		{"older, of networks", "ln -s /bin/sh network.d/other", self, "", "yes", "network"},
		{"older, of VMs alone", "ln -s /bin/sh qemu.d/other", self, "", "no", "network"},
		{"newer, and dated back", "touch -d 2001-01-01 qemu.d/new; chmod 755 qemu.d/new", first, "", "no", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			script := `. ./setup.sh; cd "$1"; mkdir qemu.d network.d; ` + test.make + `
				if runs_hooks ` + test.pid + ` "$1" "$2" "$3"; then echo yes; else echo no; fi`
			out, err := exec.Command("sh", "-euc", script, "sh", t.TempDir(), test.except, test.driver).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if got := strings.TrimSpace(string(out)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// needs skips a test where a program is missing, and fails it in CI.
func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed: .ci/packages names its package", program)
	}
	t.Skipf("NOT CHECKED: %s is not installed", program)
}
