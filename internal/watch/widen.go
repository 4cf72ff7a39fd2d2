package watch

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"macvtap-filter/internal/change"
	"macvtap-filter/internal/facts"
	"macvtap-filter/internal/filter"
	"macvtap-filter/internal/journal"
	"macvtap-filter/internal/ruleset"
)

// A change of the configuration or of the network that lets more pass than before is told: it may
// be meant, or a slip. The rules stand already when it is worked out, which takes a moment for
// each interface.

// The bounds of what is told: how many bytes of what opens, and how many interfaces wait for it.
const (
	widerText  = 600
	widerQueue = 64
)

// A replaced is an interface's rules that were replaced.
type replaced struct {
	device      string // as messages name it
	fields      journal.Fields
	before, now ruleset.Table
	known       facts.Facts
}

// compare has the devices' rules compared with those of theirs that stood before. What somebody
// else changed is put back, and nothing that was ever meant.
func (w *watcher) compare(devices []*device) {
	for _, d := range devices {
		before := d.before
		d.before = nil
		if before == nil || d.culprit != "" || d.failed || !filter.Bound(*before, d.Index) ||
			filter.ParseOwner(before.Comment).UUID != filter.ParseOwner(d.want.Comment).UUID {
			continue
		}
		select {
		case w.compares <- replaced{d.String(), d.fields(journal.Wider), *before, *d.want, w.facts[d.parent]}:
		default:
			w.say(slog.LevelWarn, "wider", "the rules of many interfaces change at once: whether they let more pass than before is told of some alone; \"macvtap-filter reach --diff OLD VM\" tells it of any", journal.Fields{Reason: journal.Wider})
		}
	}
}

// comparing compares until ctx ends, one interface after the other.
func (w *watcher) comparing(ctx context.Context) chan<- replaced {
	todo := make(chan replaced, widerQueue)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case r := <-todo:
				r.tell(w.tell)
			}
			if len(todo) == 0 {
				w.tell(func(w *watcher) { w.well("wider") })
				giveBack()
			}
		}
	}()
	return todo
}

// tell tells of what more is open now. Rules of a version that nobody understands any more are
// compared with nothing.
func (r replaced) tell(tell func(event)) {
	c, err := change.Of(r.before, r.now, r.known)
	level, message := slog.LevelWarn, ""
	switch {
	case err != nil:
		level, message = slog.LevelInfo, fmt.Sprintf("%s: whether its rules let more pass than before is not known: %v", r.device, err)
	case !c.Opens.Empty():
		message = fmt.Sprintf("%s: its rules let more pass than before: %s", r.device, change.Bounded(change.Lines(c.Opens, "now also "), widerText))
	default:
		return
	}
	tell(func(w *watcher) { w.Log(level, strings.ToValidUTF8(message, ""), r.fields) })
}
