package status_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"macvtap-filter/internal/status"
)

// BenchmarkCollect looks at many interfaces of as many VMs, with a watch that
// vouches for them, and without one, by comparison.
func BenchmarkCollect(b *testing.B) {
	n := network(b)
	vms := watchedLibvirt{}
	all := &fakeLibvirt{}
	const interfaces = 200 // plugging in more takes minutes; cmd/bench has a thousand
	for i := range interfaces {
		device, uuid := fmt.Sprintf("macvtap%d", i), fmt.Sprintf("00000000-0000-4000-8000-%012d", i)
		mac := []byte{0x52, 0x54, 0, 1, byte(i >> 8), byte(i)}
		plug(b, n, device, mac)
		vms[uuid] = fmt.Sprintf(`<domain><name>vm-%d</name><uuid>%s</uuid><devices><interface type='direct'>
<mac address='52:54:00:01:%02x:%02x'/><source dev='enp88s0'/><target dev='%s'/></interface></devices></domain>`, i, uuid, mac[4], mac[5], device)
		all.vms = append(all.vms, vms[uuid])
		hook(b, n, vms[uuid])
	}
	file := filepath.Join(b.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte(dmz), 0o600); err != nil {
		b.Fatal(err)
	}
	measure := func(b *testing.B, connect func(context.Context) (status.Libvirt, error)) {
		inside(b, n, func() error {
			for b.Loop() {
				s := status.Collect(context.Background(), status.Options{ConfigFile: file, Connect: connect})
				if len(s.Interfaces) != interfaces || !s.Right() {
					return fmt.Errorf("%d interfaces, right: %v, notes %q, %+v", len(s.Interfaces), s.Right(), s.Notes, s.Interfaces[0])
				}
			}
			return nil
		})
	}
	b.Run("alone", func(b *testing.B) { measure(b, all.connect) })
	startWatch(b, n, dmz, vms)
	b.Run("watch", func(b *testing.B) { measure(b, all.connect) })
}
