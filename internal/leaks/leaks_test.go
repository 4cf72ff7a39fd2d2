package leaks

import (
	"testing"
)

// TestLeaks measures every event under every defence.
func TestLeaks(t *testing.T) {
	var all table
	for _, e := range events {
		t.Run(e.name, func(t *testing.T) {
			for _, d := range defences() {
				t.Run(d.name, func(t *testing.T) {
					if e.skip != nil && e.skip(d) {
						return
					}
					got := e.run(newSite(t, d))
					if got.leaked > 0 && e.closed(d) {
						t.Errorf("%d of %d denied frames passed, which must be none", got.leaked, got.sent)
					}
					all = append(all, row{e.name, d.name, got})
				})
			}
		})
	}
	t.Logf("\n%s", all)
	all.inREADME(t)
}

// An event is what happens to a site while VMs send.
type event struct {
	name string
	run  func(*site) *tally

	closed func(defence) bool // not one denied frame may pass
	skip   func(defence) bool // it cannot happen
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
	{name: "hooks killed", run: killHooks, closed: defence.ours, skip: func(d defence) bool { return !d.ours() }},
	{name: "hot-plug, watch killed", run: killWatch, closed: guarded, skip: unwatched},
	{name: "hot-plug, watch dead", run: deadWatch, closed: guarded, skip: unwatched},
	{name: "watch loses the kernel's messages", run: lostMessages, closed: guarded, skip: unwatched},
}

func unwatched(d defence) bool { return !d.watch }

func never(defence) bool { return false }
