package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"macvtap-filter/internal/domain"
	"macvtap-filter/internal/journal"
	"macvtap-filter/internal/libvirt"
	"macvtap-filter/internal/patience"
)

// A Libvirt is a connection to libvirt's daemon; *libvirt.Listener is the real one.
// Its calls give up after their patience.
type Libvirt interface {
	Running(patience time.Duration) (uuids []string, err error)
	LiveXML(uuid string, patience time.Duration) (string, error) // libvirt.ErrGone when it does not run, ErrSlow
	Changed() <-chan string                                      // UUIDs of VMs to ask after again
	Ended() <-chan struct{}                                      // closed when the connection is lost
	Close()
}

// The pauses between attempts to reach a libvirt that is not there. Each ends early
// when something happens in the folder of its sockets.
const (
	firstDial = 100 * time.Millisecond
	lastDial  = 30 * time.Second
)

// followVMs tells which VMs run and what their XML says, and goes on doing so when
// libvirt is restarted, until ctx ends. What was known of VMs stays known while
// libvirt is away.
func followVMs(ctx context.Context, connect func(time.Duration) (Libvirt, error), tell func(event)) {
	awake := libvirt.SocketEvents(ctx)
	pause := firstDial
	for ctx.Err() == nil {
		started := time.Now()
		err := followOnce(ctx, connect, tell)
		if time.Since(started) > lastDial {
			pause = firstDial
		}
		tell(func(w *watcher) { w.noteNoLibvirt(err) })
		select {
		case <-ctx.Done():
		case <-awake:
			pause = firstDial
		case <-time.After(pause):
			pause = min(2*pause, lastDial)
		}
	}
}

// followOnce follows one connection to libvirt to its end.
func followOnce(ctx context.Context, connect func(time.Duration) (Libvirt, error), tell func(event)) error {
	l, err := connect(patience.Libvirt)
	if err != nil {
		return err
	}
	defer l.Close()
	running, err := l.Running(patience.Libvirt)
	if err != nil {
		return err
	}
	for _, uuid := range running {
		if err := follow(l, uuid, tell); err != nil {
			return err
		}
	}
	tell(func(w *watcher) { w.noteAll(running) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.Ended():
			return errors.New("libvirt: the connection ended")
		case uuid := <-l.Changed():
			if err := follow(l, uuid, tell); err != nil {
				return err
			}
		}
	}
}

// follow tells what libvirt knows of one VM now.
func follow(l Libvirt, uuid string, tell func(event)) error {
	xml, err := l.LiveXML(uuid, patience.Libvirt)
	if errors.Is(err, libvirt.ErrGone) {
		tell(func(w *watcher) { w.noteVM(uuid, nil) })
		return nil
	}
	if errors.Is(err, libvirt.ErrSlow) {
		tell(func(w *watcher) {
			w.say(slog.LevelWarn, uuid, fmt.Sprintf("%v; what is known of it stays, and new interfaces get the default policy", err), w.about(uuid))
		})
		return nil
	}
	if err != nil {
		return err
	}
	d, err := domain.Parse(strings.NewReader(xml))
	if err != nil {
		tell(func(w *watcher) {
			w.say(slog.LevelError, uuid, fmt.Sprintf("%v; its interfaces get the default policy", err), w.about(uuid))
		})
		return nil
	}
	tell(func(w *watcher) {
		w.well(uuid)
		w.noteVM(uuid, d)
	})
	return nil
}

// noteVM takes what libvirt says of a VM, nil when it is gone.
func (w *watcher) noteVM(uuid string, d *domain.Domain) {
	before := w.vms[uuid]
	delete(w.kept, uuid)
	if d == nil {
		delete(w.vms, uuid)
	} else {
		if err := d.Adopt(w.host.Foreign); err != nil {
			w.say(slog.LevelError, uuid, err.Error(), w.about(uuid))
		}
		w.vms[uuid] = d
	}
	if onlyBound(before, d) {
		return
	}
	w.replan(func(d *device) bool { return d.uuid == uuid || d.uuid == "" })
}

// noteAll takes which VMs run: the others are gone.
func (w *watcher) noteAll(running []string) {
	w.asked, w.told = true, true
	w.well("libvirt")
	there := map[string]bool{}
	for _, uuid := range running {
		there[uuid] = true
	}
	for uuid := range w.vms {
		if !there[uuid] {
			w.noteVM(uuid, nil)
		}
	}
}

func (w *watcher) noteNoLibvirt(err error) {
	w.asked = true
	if err == nil {
		return
	}
	w.told = false
	w.say(slog.LevelWarn, "libvirt", fmt.Sprintf("%v; what is known of VMs stays, new interfaces get the default policy, and libvirt is asked again", err), journal.Fields{Reason: journal.Libvirt})
}

// about are the log's fields about what libvirt does not say of a VM.
func (w *watcher) about(uuid string) journal.Fields {
	f := journal.Fields{UUID: uuid, Reason: journal.Libvirt}
	if vm := w.vms[uuid]; vm != nil {
		f.VM = vm.Name
	}
	return f
}
