package host_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"macvtap-filter/internal/host"
	"macvtap-filter/internal/lab"
)

// TestEventsAfterLoss shows a device that comes when events were lost and those that
// were kept are not read yet: either it is told, or that something was lost after it
// had come.
func TestEventsAfterLoss(t *testing.T) {
	n := network(t, lab.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stuck, release := make(chan struct{}), make(chan struct{})
	late, told := 0, make(chan struct{})
	first := true
	tell := func(e host.Event) {
		switch {
		case first:
			first = false
			close(stuck)
			<-release
		case late != 0 && (e.Lost || e.Index == late):
			late = -1
			close(told)
		case e.Lost && late == 0:
			late = addLate(t, n)
		}
	}
	err := n.Hypervisor.Do(func() error {
		_, err := host.Subscribe(ctx, tell)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	change := func() { changeLoopback(t, n) }
	change()
	<-stuck
	for !lost(t, n) {
		for range 500 {
			change()
		}
	}
	close(release)
	select {
	case <-told:
	case <-time.After(5 * time.Minute):
		t.Error("nothing was told of the device, nor that anything was lost after it came")
	}
}

func addLate(t *testing.T, n *lab.Network) (index int) {
	tap, err := n.AddMacvtap("late", mac)
	if err != nil {
		t.Error(err)
		return -1
	}
	return tap.Index
}

func changeLoopback(t *testing.T, n *lab.Network) {
	t.Helper()
	links := n.Hypervisor.Links()
	lo, err := links.LinkByName("lo")
	if err == nil {
		err = links.LinkSetTxQLen(lo, lo.Attrs().TxQLen+1)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// lost reports whether a netlink socket of the namespace lost anything (the column
// Drops of /proc/net/netlink, proc(5)).
func lost(t *testing.T, n *lab.Network) (any bool) {
	t.Helper()
	err := n.Hypervisor.Do(func() error {
		table, err := os.ReadFile("/proc/thread-self/net/netlink")
		for line := range strings.Lines(string(table)) {
			fields := strings.Fields(line)
			any = any || len(fields) > 8 && fields[0] != "sk" && fields[8] != "0"
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return any
}
