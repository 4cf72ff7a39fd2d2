package kernel_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/ruleset"
)

// BenchmarkCreate programs a VM's first table. Its removal, which the kernel takes
// its time for, is not timed.
func BenchmarkCreate(b *testing.B) {
	program(b, func(b *testing.B, ctx context.Context, made []ruleset.Table) error {
		for b.Loop() {
			if err := kernel.Create(ctx, made); err != nil {
				return err
			}
			b.StopTimer()
			if _, err := kernel.Remove(ctx, func(kernel.Standing) bool { return true }); err != nil {
				return err
			}
			b.StartTimer()
		}
		return nil
	})
}

// BenchmarkReplace programs a table over itself, and waits for the kernel to free
// the old one.
func BenchmarkReplace(b *testing.B) {
	program(b, func(b *testing.B, ctx context.Context, made []ruleset.Table) error {
		for b.Loop() {
			if err := kernel.Replace(ctx, made, func(kernel.Standing) bool { return false }); err != nil {
				return err
			}
		}
		return nil
	})
}

// program runs a benchmark in a namespace of its own, with a table of the default
// policy and one with many allowed hosts.
func program(b *testing.B, f func(*testing.B, context.Context, []ruleset.Table) error) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			b.Fatal("NOT MEASURED: network namespaces need root")
		}
		b.Skip("NOT MEASURED: network namespaces need root")
	}
	for _, hosts := range []int{0, 10_000} {
		allow := []string{"gateway", "dns", "broadcast"}
		for i := range hosts {
			allow = append(allow, fmt.Sprintf("192.168.%d.%d", 100+i/250, 1+i%250))
		}
		made := tables(b, vm(vmUUID, "lo"), "[policy.default]\nallow = [\""+strings.Join(allow, "\", \"")+"\"]\n")
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			ns, err := lab.NewNamespace()
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				if err := ns.Close(); err != nil {
					b.Error(err)
				}
			})
			if err := ns.Do(func() error { return f(b, context.Background(), made) }); err != nil {
				b.Fatal(err)
			}
		})
	}
}
