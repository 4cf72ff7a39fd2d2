package main

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"macvtap-filter/internal/config"
	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
)

// TestPluggedInMeanwhile has a VM get an interface, and rules for it, after "apply
// --all" read the VM's XML: they stay, and rules that stood before, of an interface
// that the XML does not name, go.
func TestPluggedInMeanwhile(t *testing.T) {
	n, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	c, err := config.Parse("config.toml", fmt.Appendf(nil, "parents = [%q]\n[policy.default]\ndeny = [\"10.0.0.0/8\"]\nallow = []\n", n.Parent))
	if err != nil {
		t.Fatal(err)
	}
	vms := map[string]*domain.Domain{}
	for i, device := range []string{"macvtap0", "macvtap1", "macvtap2"} {
		tap, err := n.AddMacvtap(device, net.HardwareAddr{0x52, 0x54, 0, 0, 0, byte(i)})
		if err != nil {
			t.Fatal(err)
		}
		vms[device] = &domain.Domain{Name: "web", UUID: "6695eb01-f6a4-8304-79aa-97f2502e193f", Direct: []domain.Interface{{Number: 1, Target: device, Parent: n.Parent, MAC: tap.MAC}}}
	}
	err = n.Hypervisor.Do(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		protect := func(device string) {
			made, err := planLive(ctx, vms[device], c, false)
			if err == nil {
				err = kernel.Create(ctx, made.Tables)
			}
			if err != nil {
				t.Error(err)
			}
		}
		protect("macvtap0")
		protect("macvtap1") // and is unplugged
		stood, err := kernel.Tables(ctx)
		if err != nil {
			return err
		}
		protect("macvtap2")
		if _, failures, err := (&applier{config: c}).reconcile(ctx, []*domain.Domain{vms["macvtap0"]}, stood); err != nil || len(failures) > 0 {
			t.Error(failures, err)
		}
		stands, err := kernel.Tables(ctx)
		if want := []string{"macvtap-filter-macvtap0", "macvtap-filter-macvtap2"}; !slices.Equal(namesOf(stands), want) {
			t.Errorf("%q stand, want %q", namesOf(stands), want)
		}
		if err != nil {
			return err
		}
		// What was read, and stands as it should, is let alone.
		a := &applier{config: c}
		if a.held, err = kernel.Read(ctx); err != nil {
			return err
		}
		if _, failures, err := a.reconcile(ctx, []*domain.Domain{vms["macvtap0"]}, stands); err != nil || len(failures) > 0 {
			t.Error(failures, err)
		}
		after, err := kernel.Tables(ctx)
		if want := slices.DeleteFunc(stands, func(s kernel.Standing) bool { return s.Name != "macvtap-filter-macvtap0" }); !slices.Equal(after, want) {
			t.Errorf("there stand %v, want %v as before", after, want)
		}
		if err != nil {
			return err
		}
		// An interface that cannot be planned keeps no other from its rules, and all
		// that stands stays, of this VM.
		broken := *vms["macvtap1"]
		broken.Direct = append(broken.Direct, domain.Interface{Number: 2, Target: "macvtap9", Parent: n.Parent})
		vms, failures, err := (&applier{config: c}).reconcile(ctx, []*domain.Domain{&broken}, after)
		if len(failures) != 1 || !strings.Contains(failures[0].Error(), `VM "web": interface "macvtap9": no network device`) || len(vms) != 1 || err != nil {
			t.Error(vms, failures, err)
		}
		stands, err = kernel.Tables(ctx)
		if want := []string{"macvtap-filter-macvtap0", "macvtap-filter-macvtap1"}; !slices.Equal(namesOf(stands), want) {
			t.Errorf("%q stand, want %q", namesOf(stands), want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// namesOf gives the tables' names, sorted.
func namesOf(tables []kernel.Standing) []string {
	var names []string
	for _, s := range tables {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}
