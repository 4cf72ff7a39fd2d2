package kernel_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"macvtap-filter/internal/frame"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/lab"
	"macvtap-filter/internal/ruleset"
)

// trace has do send frames while frames that are wished for are traced, and gives them.
func trace(t *testing.T, ns *lab.Namespace, wishes []kernel.Wish, do func()) []kernel.Traced {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	begun, ended := make(chan struct{}), make(chan error)
	var all []kernel.Traced
	go func() {
		ended <- ns.Do(func() error {
			lost, err := kernel.Trace(ctx, wishes, func() { close(begun) }, func(f kernel.Traced) { all = append(all, f) })
			if lost {
				err = errors.Join(err, errors.New("some were lost"))
			}
			return err
		})
	}()
	select {
	case <-begun:
		do()
	case err := <-ended:
		t.Fatal("ended at once: ", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return all
}

// Of each frame is told by which of the rules that stand it passed or was dropped, with a guard
// and without; the rules are the same afterwards, and nothing is left.
func TestTrace(t *testing.T) {
	udp := [][]ruleset.Match{{ruleset.Byte(ruleset.L4Proto, ruleset.UDP)}}
	for _, about := range []string{"alone", "with a guard"} {
		t.Run(about, func(t *testing.T) {
			n, tap := network(t)
			guarding := about != "alone"
			if guarding {
				needGuard(t)
				raise(t, n.Hypervisor, guard)
			}
			replace(t, n.Hypervisor, guarded(t, vmUUID, tap), nil)
			filters(t, n, tap) // what is counted is listed
			before := listing(t, n.Hypervisor)
			got := trace(t, n.Hypervisor, []kernel.Wish{{Device: tap.Name, Out: true, In: true, Any: udp}}, func() { filters(t, n, tap) })
			var said []string
			for _, f := range got {
				said = append(said, told(t, f, guarding))
				if f.Device != tap.Name {
					t.Errorf("a frame of %q", f.Device)
				}
			}
			want := []string{
				"from the VM, IPv4, 203.0.113.7 > 192.0.2.1, UDP 40000 > 53: passes: fast path: not in deny",
				"to the VM, IPv4, 192.0.2.1 > 203.0.113.7, UDP 53 > 40000: passes: fast path: not in deny",
				"from the VM, IPv4, 203.0.113.7 > 192.168.2.77, UDP 40000 > 53: dropped: denied IPv4 destination",
				"to the VM, IPv4, 192.168.2.77 > 203.0.113.7, UDP 53 > 40000: dropped: denied IPv4 source",
			}
			if diff := cmp.Diff(want, said); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if after := listing(t, n.Hypervisor); after != before {
				t.Errorf("other rules stand: %s", cmp.Diff(before, after))
			}
		})
	}
}

// told says what became of a frame, by the words of the last rule of ours that has some.
func told(t *testing.T, f kernel.Traced, guarding bool) string {
	t.Helper()
	way := "to the VM"
	if f.Out {
		way = "from the VM"
	}
	_, words, _ := strings.Cut(frame.Words(f.Frame), ", ")
	became, why, saw := "passes", "", false
	for _, s := range f.Steps {
		if s.Drops {
			became = "dropped"
		}
		if s.Rule.Comment != "" && s.Table == ruleset.RulesTable {
			why = s.Rule.Comment
		}
		saw = saw || s.Table == ruleset.GuardTable
	}
	if saw != (guarding && became == "passes") {
		t.Errorf("the guard saw it: %v: %+v", saw, f.Steps)
	}
	return way + ", " + words + ": " + became + ": " + why
}

// While somebody traces, nobody else does, and nobody changes the table: it is the socket's, and
// goes with it.
func TestOneTracer(t *testing.T) {
	n, tap := network(t)
	wish := []kernel.Wish{{Device: tap.Name, Out: true, Any: [][]ruleset.Match{nil}}}
	trace(t, n.Hypervisor, wish, func() {
		err := within(t, n.Hypervisor, func(ctx context.Context) error {
			_, err := kernel.Trace(ctx, wish, func() {}, func(kernel.Traced) {})
			return err
		})
		if !errors.Is(err, kernel.ErrTracing) {
			t.Errorf("error %v", err)
		}
		if _, err := nftFails(n.Hypervisor, "delete table netdev "+ruleset.TraceTable); err == nil {
			t.Error("nft deletes the table")
		}
	})
	if all := listing(t, n.Hypervisor); strings.Contains(all, ruleset.TraceTable) {
		t.Errorf("left: %s", all)
	}
}
