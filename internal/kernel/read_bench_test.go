package kernel_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/ruleset"
)

// BenchmarkRead reads one table among many, and many, and compares what is read with
// what should be there.
func BenchmarkRead(b *testing.B) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			b.Fatal("NOT MEASURED: network namespaces need root")
		}
		b.Skip("NOT MEASURED: network namespaces need root")
	}
	for _, stand := range []int{1, 1000} {
		ns, err := lab.NewNamespace()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := ns.Close(); err != nil {
				b.Error(err)
			}
		})
		made := manyTables(b, stand)
		addDevices(b, ns, devices(made)...)
		made = boundIn(b, ns, made)
		byName := map[string]ruleset.Table{}
		for _, m := range made {
			byName[m.Name] = m
		}
		create(b, ns, made)
		ask := map[string][]string{"one": {made[stand/2].Name}, "all": nil}
		for name, names := range ask {
			b.Run(fmt.Sprintf("tables=%d/%s", stand, name), func(b *testing.B) {
				err := ns.Do(func() error {
					for b.Loop() {
						held, err := kernel.Read(context.Background(), names...)
						if err != nil {
							return err
						}
						for _, h := range held {
							if !ruleset.Same(byName[h.Name], h.Table) {
								return fmt.Errorf("%s", ruleset.Diff("should", byName[h.Name], "stands", h.Table))
							}
						}
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// manyTables are the tables of VMs with one interface each, under the default policy.
func manyTables(t testing.TB, n int) []ruleset.Table {
	t.Helper()
	var made []ruleset.Table
	for i := range n {
		d := vm(fmt.Sprintf("00000000-0000-0000-0000-%012d", i), fmt.Sprintf("macvtap%d", i))
		d.Name = fmt.Sprintf("vm-%d", i)
		d.Direct[0].MAC = []byte{0x52, 0x54, 0, 0, byte(i >> 8), byte(i)}
		table := tables(t, d, "")[0]
		table.CheckOffload = false // these devices are no taps
		made = append(made, table)
	}
	return made
}
