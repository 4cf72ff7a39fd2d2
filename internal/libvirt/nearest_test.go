package libvirt

import "testing"

func TestNearest(t *testing.T) {
	names := []string{"web-1", "web-12", "database", "Mail"}
	for typed, want := range map[string]string{
		"wep-1": "web-1", "web1": "web-1", "databse": "database", "mail": "Mail", "web-12x": "web-12",
		"x": "", "": "", "webserver": "", "router": "",
	} {
		if got := Nearest(typed, names); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
	if got := Nearest("web", nil); got != "" {
		t.Errorf("of no names %q", got)
	}
}
