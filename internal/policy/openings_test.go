package policy

import (
	"slices"
	"testing"

	"macvtap-filter/internal/config"
)

// TestIdleOpenings warns of entries that open nothing, and of no others.
func TestIdleOpenings(t *testing.T) {
	for _, test := range []struct{ lists, warning string }{
		{`inbound = ["192.168.7.0/24 tcp/22"]`, `policy "default": inbound "192.168.7.0/24 tcp/22" opens nothing: deny holds these peers, and allow does not; what denied peers may open, serve says`},
		{`outbound = ["tcp/443", "10.0.0.7"]`, `policy "default": outbound "10.0.0.7" opens nothing: deny holds these peers, and allow does not`},
		{`outbound = ["0.0.0.0/0 tcp/443", "gateway icmp", "192.168.0.0/16 tcp/9"]`, ""}, // the gateway is in the last
		{`inbound = ["tcp/443", "198.51.100.0/24"]`, ""},
	} {
		c, err := config.Parse("config.toml", []byte("parents = [\"eth0\"]\n[policy.default]\n"+test.lists))
		if err != nil {
			t.Fatal(err)
		}
		_, warnings, err := Resolve(c.Default(), known)
		if err != nil {
			t.Fatal(err)
		}
		if test.warning == "" && len(warnings) > 0 || test.warning != "" && !slices.Contains(warnings, test.warning) {
			t.Errorf("%s: %q, want %q", test.lists, warnings, test.warning)
		}
	}
}
