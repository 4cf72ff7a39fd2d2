package status_test

import (
	"testing"
	"time"

	"macvtap-filter/internal/ruleset"
	"macvtap-filter/internal/status"
)

// TestAddressSince has an address learned, lost with all rules, and put back by watch: since
// when it is known, and when it was used, stay as they were.
func TestAddressSince(t *testing.T) {
	n := network(t)
	plug(t, n, "macvtap0", webMAC)
	const learning = "parents = [\"enp88s0\"]\n[policy.default]\nlearn = \"first\"\n"
	began := time.Now()
	startWatch(t, n, learning, watchedLibvirt{webUUID: web})
	await := func(what string, happened func(status.Interface) bool) status.Interface {
		t.Helper()
		for end := time.Now().Add(bound); ; time.Sleep(20 * time.Millisecond) {
			i := only(t, look(t, n, learning, &fakeLibvirt{vms: []string{web}}))
			if happened(i) {
				return i
			}
			if time.Now().After(end) {
				t.Fatalf("never: %s: %+v", what, i)
			}
		}
	}
	await("protected", func(i status.Interface) bool { return i.State == status.Protected })
	nft(t, n, `add element netdev macvtap-filter nic-addresses-ipv4 { "macvtap0" . 0xc0a80264 timeout 30d expires 29d }`)
	known := func(count int) func(status.Interface) bool {
		return func(i status.Interface) bool { return len(i.Addresses) == count && i.Addresses[count-1].Since != nil }
	}
	first := await("watch knows it", known(1))
	nft(t, n, "flush ruleset")
	await("put back", func(i status.Interface) bool { return i.Rules != first.Rules && known(1)(i) })
	nft(t, n, `add element netdev macvtap-filter nic-addresses-ipv4 { "macvtap0" . 0xc0a80265 timeout 30d }`)
	later := await("watch has read once more", known(2))
	for _, i := range []status.Interface{first, later} {
		a := i.Addresses[0]
		if a.Since.Before(began) || !a.Since.Equal(*first.Addresses[0].Since) {
			t.Errorf("since %s, first since %s; the test began at %s", a.Since, first.Addresses[0].Since, began)
		}
		if a.Used == nil || a.Used.After(time.Now().Add(-ruleset.Day)) || a.Used.Before(began.Add(-ruleset.Day-time.Minute)) {
			t.Errorf("used %v, want a day ago", a.Used)
		}
	}
}
