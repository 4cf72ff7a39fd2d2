package near

import "testing"

func TestName(t *testing.T) {
	names := []string{"web-1", "web-12", "database", "Mail"}
	for typed, want := range map[string]string{
		"wep-1": "web-1", "web1": "web-1", "databse": "database", "mail": "Mail", "web-12x": "web-12",
		"x": "", "": "", "webserver": "", "router": "",
	} {
		if got := Name(typed, names); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
	if got := Name("web", nil); got != "" {
		t.Errorf("of no names %q", got)
	}
}

func TestNIC(t *testing.T) {
	names := []string{"br0", "enp3s0", "enp88s0", "wlp2s0"}
	for typed, want := range map[string]string{
		"enp88so": "enp88s0", "ENP88S0": "enp88s0", "enp5s0f1np1": "enp3s0", "eno1": "enp3s0", "wlan0": "wlp2s0", "br-lan": "br0",
		"eth0": "", "x": "", "7": "", "": "",
	} {
		if got := NIC(typed, names); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}
