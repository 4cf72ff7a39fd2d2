package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"macvtap-filter/internal/config"
)

// Hosts that say the same have the same sum, wherever the file stands; another text, a file more or
// another name of one, by which the order is decided, make another.
func TestHash(t *testing.T) {
	sum := func(files map[string]string) string {
		t.Helper()
		dir := t.TempDir()
		for name, content := range files {
			file := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		text, err := config.Read(filepath.Join(dir, "config.toml"))
		if err != nil {
			t.Fatal(err)
		}
		return text.Hash()
	}
	const first, more = "parents = [\"eth0\"]\n", "guard = true\n"
	if sum(map[string]string{"config.toml": first, "conf.d/a.toml": more}) != sum(map[string]string{"config.toml": first, "conf.d/a.toml": more, "conf.d/README": "x"}) {
		t.Error("the same in two folders has two sums")
	}
	sums := map[string]string{}
	for about, files := range map[string]map[string]string{
		"alone":        {"config.toml": first},
		"another text": {"config.toml": "parents = [\"eth1\"]\n"},
		"one more":     {"config.toml": first, "conf.d/a.toml": more},
		"another name": {"config.toml": first, "conf.d/b.toml": more},
		"two":          {"config.toml": first, "conf.d/a.toml": "", "conf.d/b.toml": more},
		"in one":       {"config.toml": first + more},
	} {
		s := sum(files)
		if other, known := sums[s]; known {
			t.Errorf("%q and %q have the same sum %s", about, other, s)
		}
		sums[s] = about
	}
}
