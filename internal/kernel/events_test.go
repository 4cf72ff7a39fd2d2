package kernel_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
)

// TestChangesAfterLoss shows a table that comes when notifications were lost and
// those that were kept are not read yet: either it is told, or that something was
// lost after it had come.
func TestChangesAfterLoss(t *testing.T) {
	n, _ := network(t)
	ns := n.Hypervisor
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stuck, release := make(chan struct{}), make(chan struct{})
	told := make(chan struct{})
	first, late, done := true, false, false
	tell := func(c kernel.Change) {
		switch {
		case first:
			first = false
			close(stuck)
			<-release
		case late && !done && (c.Lost || slices.Contains(c.Tables, "macvtap-filter-late")):
			done = true
			close(told)
		case c.Lost && !late:
			late = true
			if said, err := nftFails(ns, "add table netdev macvtap-filter-late"); err != nil {
				t.Errorf("%v: %s", err, said)
			}
		}
	}
	err := ns.Do(func() error {
		_, err := kernel.Subscribe(ctx, tell)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	nft(t, ns, "add table netdev macvtap-filter-first", "-f", "-")
	<-stuck
	var noise strings.Builder
	noise.WriteString("add table netdev noise\ndelete table netdev noise\ntable netdev noise {\n\tchain noise {\n")
	for i := range 3000 {
		fmt.Fprintf(&noise, "\t\ttcp dport %d accept comment %q\n", i+1, strings.Repeat("x", 120))
	}
	noise.WriteString("\t}\n}\n")
	for !lost(t, ns) {
		nft(t, ns, noise.String(), "-f", "-")
	}
	close(release)
	select {
	case <-told:
	case <-time.After(bound):
		t.Error("nothing was told of the table, nor that anything was lost after it came")
	}
}

// lost reports whether a netlink socket of the namespace lost anything (the column
// Drops of /proc/net/netlink, proc(5)).
func lost(t *testing.T, ns *lab.Namespace) (any bool) {
	t.Helper()
	err := ns.Do(func() error {
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
