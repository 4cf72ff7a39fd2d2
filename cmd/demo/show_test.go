package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"macvtap-filter/internal/lab"
)

// The demonstration succeeds with the binary of this module, with and without
// IPv6.
func TestShow(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "macvtap-filter")
	build := exec.Command("go", "build", "-o", binary, "../macvtap-filter")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the binary: %v\n%s", err, out)
	}
	for name, ipv6 := range map[string]bool{"both families": true, "IPv4 alone": false} {
		t.Run(name, func(t *testing.T) {
			if ipv6 && !lab.HasIPv6() {
				needIPv6(t)
			}
			said, err := demonstrate(t, t.Context(), binary, ipv6)
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			for _, part := range []string{"should be closed", "chain from-vm", "from-vm-denied-ipv4", "Tables left in the kernel: none"} {
				if !strings.Contains(said, part) {
					t.Errorf("says nothing of %q:\n%s", part, said)
				}
			}
			if strings.Contains(said, "\x1b") {
				t.Errorf("a file has colours:\n%q", said)
			}
		})
	}
}

// A hook that protects nothing, or fails, is found out.
func TestShowFailures(t *testing.T) {
	usual := shortPatience
	t.Cleanup(func() { shortPatience = usual })
	shortPatience = longPatience // what should not be answered is
	for _, test := range []struct{ name, script, want string }{
		{"does nothing", "exit 0", "NOT as it should be with the hook:\n  web to LAN host 192.168.2.77 (ping): open, and should be closed\n"},
		{"fails", "echo no such luck >&2; exit 1", "no such luck"},
		{"prints", "echo '<domain/>'", "libvirt would take that for XML"},
	} {
		t.Run(test.name, func(t *testing.T) {
			binary := filepath.Join(t.TempDir(), "hook")
			if err := os.WriteFile(binary, []byte("#!/bin/sh\n"+test.script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			said, err := demonstrate(t, t.Context(), binary, lab.HasIPv6())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q; it said\n%s", err, test.want, said)
			}
		})
	}
}

// A demonstration that is interrupted ends, and does not go on.
func TestShowInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	said, err := demonstrate(t, ctx, "/bin/false", lab.HasIPv6())
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want one of cancelling; it said\n%s", err, said)
	}
}

// needIPv6 says loudly that a test is not run, and fails in CI.
func needIPv6(t *testing.T) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal("NOT RUN: this kernel has no IPv6")
	}
	t.Skip("NOT RUN: this kernel has no IPv6")
}

// demonstrate runs show into a file and gives what it said.
func demonstrate(t *testing.T, ctx context.Context, binary string, ipv6 bool) (string, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("NOT RUN: network namespaces and tap devices need root")
		}
		t.Skip("NOT RUN: network namespaces and tap devices need root")
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "said"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	showErr := show(ctx, binary, ipv6, newPrinter(file))
	said, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(said), showErr
}
