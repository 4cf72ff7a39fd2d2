package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/kernel"
	"macvtap-filter/internal/ruleset"
	"macvtap-filter/internal/watch"
)

// TestAddressesSince shows since when an address is known where watch tells, for its device
// alone.
func TestAddressesSince(t *testing.T) {
	own := netip.MustParseAddr("192.168.2.100")
	set, bound := filter.BoundByHand(7, own)
	since := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	o := owned{owner: filter.Owner{Name: "web-1"}, watch: watch.Report{Devices: []watch.Device{
		{Index: 8, Known: []watch.Known{{Address: own, Since: time.Now()}}},
		{Index: 7, Known: []watch.Known{{Address: netip.MustParseAddr("192.168.2.101"), Since: time.Now()}, {Address: own, Since: since}}},
	}}}
	o.held = kernel.Held{Table: ruleset.Table{Interfaces: map[uint32]string{7: "macvtap0"}, Sets: []ruleset.Set{{Name: set, Elements: []ruleset.Element{bound}}}}}
	for _, c := range []struct {
		show func(streams, []owned) error
		want string
	}{{addressesTable, "by hand   2020-01-02  -\n"}, {addressesJSON, `"since": "2020-01-02T03:04:05Z"`}} {
		var out strings.Builder
		if err := c.show(streams{out: &out}, []owned{o}); err != nil || !strings.Contains(out.String(), c.want) {
			t.Errorf("%v, no %q in\n%s", err, c.want, &out)
		}
	}
}
