package watch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"time"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/libvirt"
	"macvtap-filter/internal/patience"
	"macvtap-filter/internal/ruleset"
)

// What rules have learned of a VM is kept in its live <metadata>, which libvirt takes along
// wherever the VM goes. libvirt writes a file each time and tells of each change, so that only
// what is new is written: addresses that came or went, and that one is bound for longer than is
// said by keptLate. That one is bound for shorter is not: a guest could have it change back and
// forth. What is there already, libvirt itself says.
const keptLate = ruleset.Day

// keepAgain is how long after it was written of a VM it is written again, if libvirt does not say
// that it has it.
const keepAgain = time.Minute

// A note is what is to be written of a VM, nil where what is there is to go.
type note struct {
	uuid  string
	bound *domain.Addresses
}

// minds reports whether there is something to remember: what rules learn, or what metadata say
// where none do any more.
func (w *watcher) minds() bool {
	for _, vm := range w.vms {
		if w.Keep != nil && vm.Addresses != nil {
			return true
		}
	}
	return w.learns()
}

// keep has what rules learned written into the metadata of their VMs. It does not wait: libvirt
// keeps a VM busy while it moves.
func (w *watcher) keep(ctx context.Context) {
	if w.Keep == nil || w.keeping || !w.told {
		return
	}
	var due []note
	for uuid, vm := range w.vms {
		n, sure := w.boundOf(uuid)
		if sure && time.Since(w.kept[uuid]) > keepAgain && !sameBound(vm.Addresses, n.bound) {
			due = append(due, n)
			w.kept[uuid] = time.Now()
		}
	}
	if len(due) == 0 {
		return
	}
	w.keeping = true
	go func() {
		for _, n := range due {
			limited, cancel := context.WithTimeout(ctx, patience.Libvirt)
			err := w.Keep(limited, n.uuid, n.bound.Element())
			cancel()
			w.tell(func(w *watcher) { w.noteKeeping(n.uuid, err) })
		}
		w.tell(func(w *watcher) { w.keeping = false })
	}()
}

// noteKeeping takes how it went. That libvirt has it now, an event says.
func (w *watcher) noteKeeping(uuid string, err error) {
	about := "metadata of " + uuid
	switch {
	case err == nil, errors.Is(err, libvirt.ErrGone):
		w.well(about)
	case w.vms[uuid] != nil && !errors.Is(err, context.Canceled):
		w.say(slog.LevelWarn, about, fmt.Sprintf("%v: the addresses that rules learned do not stand in the VM's metadata: where it moves, or is saved, it has ten minutes to use them", err), w.about(uuid))
	}
}

// boundOf gives what rules have learned of a VM. It is not sure while one of its interfaces has
// not the rules that it should, nor that there is nothing while one was not seen.
func (w *watcher) boundOf(uuid string) (n note, sure bool) {
	n.uuid = uuid
	seen := 0
	for _, d := range w.devices {
		if d.uuid != uuid {
			continue
		}
		seen++
		m, known := w.learned[d.Index]
		if !d.planned || d.failed || d.want != nil || len(d.lasting) > 0 && !known {
			return n, false
		}
		mac := w.macOf(d)
		if bound := filter.Learned(m.sets, m.at); len(d.lasting) > 0 && len(bound) > 0 && mac != nil {
			if n.bound == nil {
				n.bound = &domain.Addresses{}
			}
			n.bound.NICs = append(n.bound.NICs, domain.NICAddresses{MAC: mac, Bound: bound})
		}
	}
	if n.bound == nil {
		return n, seen >= len(w.vms[uuid].Direct)
	}
	slices.SortFunc(n.bound.NICs, func(a, b domain.NICAddresses) int { return bytes.Compare(a.MAC, b.MAC) })
	return n, true
}

// macOf gives the MAC address that the domain XML says of a device, by which it is known
// wherever its VM goes.
func (w *watcher) macOf(d *device) []byte {
	for _, i := range w.vms[d.uuid].Direct {
		if i.Target == d.target {
			return i.MAC
		}
	}
	return nil
}

// sameBound reports whether metadata say enough of what rules have learned.
func sameBound(said, learned *domain.Addresses) bool {
	if said == nil || learned == nil {
		return said == learned
	}
	return said.Err == nil && slices.EqualFunc(said.NICs, learned.NICs, func(a, b domain.NICAddresses) bool {
		return bytes.Equal(a.MAC, b.MAC) && slices.EqualFunc(a.Bound, b.Bound, func(a, b domain.Bound) bool {
			return a.Addr == b.Addr && a.Known == b.Known && b.Until.Sub(a.Until) <= keptLate
		})
	})
}

// onlyBound reports whether what libvirt says of a VM differs from before in what watch itself
// keeps there: no rules depend on it.
func onlyBound(before, now *domain.Domain) bool {
	if before == nil || now == nil || reflect.DeepEqual(before.Addresses, now.Addresses) {
		return false
	}
	a, b := *before, *now
	a.Addresses, b.Addresses = nil, nil
	return reflect.DeepEqual(a, b)
}
