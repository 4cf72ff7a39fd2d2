package config

import "testing"

func TestListen(t *testing.T) {
	for text, want := range map[string]Listen{
		"":                      {},
		"127.0.0.1:9477":        {"tcp", "127.0.0.1:9477"},
		"127.255.0.3:65535":     {"tcp", "127.255.0.3:65535"},
		"[::1]:80":              {"tcp", "[::1]:80"},
		"unix:/run/a b/网.sock":  {"unix", "/run/a b/网.sock"},
		"unix:/run/m:1@x.sock":  {"unix", "/run/m:1@x.sock"},
		"[0:0:0:0:0:0:0:1]:443": {"tcp", "[::1]:443"},
	} {
		got := mustParse(t, "parents = [\"a\"]\nlisten = \""+text+"\"").Listen
		if got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
		if again, err := ParseListen(got.String()); again != got || err != nil {
			t.Errorf("%q is read back as %+v, %v", got, again, err)
		}
	}
	for _, text := range []string{"unix:/a\x00b", "127.0.0.1:http", "::1:80", "http://127.0.0.1:80", "128.0.0.1:80", "[fe80::1%lo]:80", "unix:", "@abstract"} {
		if got, err := ParseListen(text); err == nil {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}
