package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStartOf(t *testing.T) {
	before := time.Now()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	started, err := startOf(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	// The kernel counts in ticks, and uptime in hundredths.
	const blur = 50 * time.Millisecond
	if before.Sub(started) > blur || time.Until(started) > blur {
		t.Errorf("started %s, want between %s and now", started, before)
	}
	if _, err := startOf(1 << 30); err == nil {
		t.Error("no error for a process that there is not")
	}
}

func TestPlacedAt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hook")
	before := time.Now().Add(-time.Second)
	if err := os.WriteFile(file, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, time.Unix(0, 0), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	placed, err := placedAt(file)
	if err != nil || placed.Before(before) {
		t.Errorf("placed at %s, %v: want now, whenever it was built", placed, err)
	}
}

// TestCheckSecurity shows hosts whose security modules stop the hook, and others.
func TestCheckSecurity(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[*string]string
		want  string
	}{
		{"none", nil, ""},
		{"SELinux off", map[*string]string{&selinuxEnforces: "0\n"}, ""},
		{"SELinux confines", map[*string]string{&selinuxEnforces: "1\n", &selinuxBoolean: "0 0\n"}, "FAILED   SELinux: it confines"},
		{"SELinux without the boolean", map[*string]string{&selinuxEnforces: "1\n"}, "FAILED   SELinux: it confines"},
		{"SELinux lets", map[*string]string{&selinuxEnforces: "1\n", &selinuxBoolean: "1 1\n"}, "ok       SELinux: hooks are unconfined"},
		{"AppArmor, the usual profile", map[*string]string{&apparmorEnabled: "Y\n", &apparmorProfile: "/etc/libvirt/hooks/** rmix,"}, "ok       AppArmor: libvirtd may"},
		{"AppArmor, another", map[*string]string{&apparmorEnabled: "Y\n", &apparmorProfile: "profile libvirtd {}"}, "warning  AppArmor: the profile"},
		{"AppArmor, no profile", map[*string]string{&apparmorEnabled: "Y\n"}, "ok       AppArmor: no profile"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, file := range []*string{&selinuxEnforces, &selinuxBoolean, &apparmorEnabled, &apparmorProfile, &apparmorLocal} {
				was := *file
				t.Cleanup(func() { *file = was })
				*file = filepath.Join(t.TempDir(), "none")
			}
			for file, text := range test.files {
				if err := os.WriteFile(*file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var out strings.Builder
			r := &report{std: streams{out: &out}}
			checkSecurity(r)
			if !strings.HasPrefix(out.String(), test.want) || test.want == "" && out.Len() > 0 || r.failed != strings.HasPrefix(test.want, "FAILED") {
				t.Errorf("%q, failed %v: want %q", out.String(), r.failed, test.want)
			}
		})
	}
}
