package watch_test

import (
	"strings"
	"testing"

	"macvtap-filter/internal/journal"
)

// TestTellsOfWider shows a change that opens something: it is named, bounded in length. What
// closes something is no news, nor is what somebody else opened and watch closes again.
func TestTellsOfWider(t *testing.T) {
	n := network(t)
	plug(t, n, "macvtap0", webMAC)
	w := start(t, n, dmz, web)
	w.until("protected", func() bool { return w.healed() })

	allowing := func(entry string) string {
		return strings.Replace(dmz, "\n[[vm]]", "allow = [\"gateway\", \"dns\", "+entry+"]\n[[vm]]", 1)
	}
	const wider = `VM "web-1": interface "macvtap0": its rules let more pass than before: `
	w.configure(allowing(`"192.168.2.20 tcp/445"`))
	w.until("it tells what opens", func() bool { return w.logged(wider + "now also 192.168.2.20: tcp/445") })
	if !w.logged("Reason:" + string(journal.Wider)) {
		t.Error("the entry has no reason")
	}
	w.configure(dmz)
	w.took(2)
	w.nft("insert rule netdev macvtap-filter from-vm-macvtap0 accept")
	w.until("put back", func() bool { return w.logged("are back") && w.healed() })

	var many []string
	for i := range 200 {
		many = append(many, `"192.168.2.`+string(rune('1'+i%9))+`1 tcp/`+strings.Repeat("7", 1+i%4)+`"`)
	}
	w.configure(allowing(strings.Join(many, ", ")))
	w.until("it tells of many", func() bool { return w.count(wider) >= 2 })
	if w.count(wider) != 2 {
		t.Errorf("told %d times, want 2: of what opened", w.count(wider))
	}
	for _, line := range w.lines() {
		if strings.Contains(line, wider) && len(line) > 1000 {
			t.Errorf("%d bytes: %s", len(line), line)
		}
	}
}
