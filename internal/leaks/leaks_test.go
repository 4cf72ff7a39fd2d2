package leaks

import (
	"slices"
	"testing"
)

// TestLeaks measures every event under every defence.
func TestLeaks(t *testing.T) {
	var all table
	for _, e := range events {
		t.Run(e.name, func(t *testing.T) {
			for _, d := range e.defences() {
				t.Run(d.name, func(t *testing.T) {
					got := e.run(newSite(t, d))
					if got.leaked == 0 && d.hook == "" {
						t.Error("nothing leaked without any filter: this shows nothing")
					}
					if got.leaked > 0 && e.closed(d) {
						t.Errorf("%d of %d denied frames passed, which must be none", got.leaked, got.sent)
					}
					all = append(all, row{e.name, d.name, got})
				})
			}
		})
	}
	t.Logf("\n%s", all)
	all.onPage(t)
}

// An event is what happens to a site while VMs send.
type event struct {
	name string
	run  func(*site) *tally

	closed func(defence) bool // not one denied frame may pass
	only   func(defence) bool // it can happen; nil for every defence
}

// defences gives those that an event is measured with. A short run shows what
// happens without any, and holds those to their promise that make one.
func (e event) defences() []defence {
	all := defences()
	best := all[len(all)-1]
	return slices.DeleteFunc(all, func(d defence) bool {
		shown := soak > 0 || *update || d == best || d.hook == "" || e.closed(d) && !d.watch
		return !shown || e.only != nil && !e.only(d)
	})
}

func guarded(d defence) bool { return d.guard }

var events = []event{
	{name: "start and stop", run: startAndStop, closed: defence.ours},
	{name: "hot-plug", run: hotPlug, closed: guarded},
	{name: "hot-plug under a dead VM's name", run: recycledName, closed: guarded},
	{name: "nft flush ruleset", run: flushed(flush), closed: guarded},
	{name: "nft flush ruleset, again and again", run: flushStorm, closed: guarded},
	{name: "reload of a firewall", run: flushed(reload), closed: guarded},
	{name: "device renamed", run: changed(rename), closed: guarded},
	{name: "MAC address changed", run: changed(changeMAC), closed: defence.ours},
	{name: "LAN has a new prefix", run: changed(changeNetwork), closed: never},
	{name: "configuration changed", run: changed(changeConfiguration), closed: never},
	{name: "hooks killed", run: killHooks, closed: defence.ours, only: defence.ours},
	{name: "hot-plug, watch killed", run: killWatch, closed: guarded, only: watched},
	{name: "hot-plug, watch dead", run: deadWatch, closed: guarded, only: watched},
	{name: "watch loses the kernel's messages", run: lostMessages, closed: guarded, only: func(d defence) bool { return d.watch && !emulated }},
}

func watched(d defence) bool { return d.watch }

func never(defence) bool { return false }
