package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// load writes files into a folder and reads the configuration config.toml there.
func load(t *testing.T, files map[string]string) (*Config, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Load("config.toml")
}

// The files of the folder add to the file, in the order of their names.
func TestFolder(t *testing.T) {
	c, err := load(t, map[string]string{
		"config.toml":        "parents = ['eth0']\n[policy.dmz]\nallow = []\n[[vm]]\nname = 'a'\n",
		"conf.d/20-b.toml":   "[policy.lab]\n[[vm]]\nname = 'c'\npolicy = 'dmz'\n[[vm]]\nname = 'd'\n",
		"conf.d/10-a.toml":   "\ufeffguard = true\r\n[policy.dmz]\r\ndeny = ['10.0.0.0/8']\r\n[[vm]]\r\nname = 'b'\r\npolicy = 'lab'\r\n",
		"conf.d/.hid.toml":   "no TOML",
		"conf.d/a.toml~":     "no TOML",
		"conf.d/#a.toml#":    "no TOML",
		"conf.d/a.toml.bak":  "no TOML",
		"conf.d/README":      "no TOML",
		"conf.d/x.toml/more": "no TOML",
		"elsewhere/a.toml":   "no TOML",
	})
	if err != nil {
		t.Fatal(err)
	}
	var vms []string
	for _, v := range c.vms {
		vms = append(vms, v.name+" "+v.policy)
	}
	if diff := cmp.Diff([]string{"a default", "b lab", "c dmz", "d default"}, vms); diff != "" {
		t.Errorf("[[vm]] sections: -want +got:\n%s", diff)
	}
	if p := c.policies["dmz"]; len(p.Deny) != 1 || len(p.Allow) != 0 || !c.Guard {
		t.Errorf("policy %+v, guard %t", p, c.Guard)
	}
	if diff := cmp.Diff([]string{"config.toml", "conf.d/10-a.toml", "conf.d/20-b.toml"}, c.Files); diff != "" {
		t.Errorf("files: -want +got:\n%s", diff)
	}
	for key, want := range map[string]string{"parents": "config.toml", "guard": "conf.d/10-a.toml", "metadata": "config.toml"} {
		if got := c.FileOf(key); got != want {
			t.Errorf("%s is in %s, want %s", key, got, want)
		}
	}
}

// What is wrong is told of the file that it is in.
func TestFolderMistakes(t *testing.T) {
	main := "parents = ['eth0']\nreconnect = 'keep'\n[policy.dmz]\nallow = []\n[[vm]]\nname = 'a'\npolicy = 'dmz'\n"
	for _, test := range []struct {
		about string
		files map[string]string
		want  []string
	}{
		{"a key twice", map[string]string{"conf.d/a.toml": "parents = ['eth1']\nreconnect = 'kill'\n", "conf.d/b.toml": "# …\npolicy.dmz.allow = ['dns']\n"}, []string{
			"conf.d/a.toml:1:1: parents: config.toml:1 sets it, too: leave one out",
			"conf.d/a.toml:2:1: reconnect: config.toml:2 sets it, too: leave one out",
			"conf.d/b.toml:2:12: policy.dmz.allow: config.toml:4 sets it, too: leave one out",
		}},
		{"in two files of the folder", map[string]string{"conf.d/a.toml": "[policy.b]\nlog = true\n", "conf.d/b.toml": "[policy.b]\nlog = true\n"}, []string{
			"conf.d/b.toml:2:1: policy.b.log: conf.d/a.toml:2 sets it, too: leave one out",
		}},
		{"once with a wrong letter", map[string]string{"conf.d/a.toml": "[policy.dmz]\nalow = []\n"}, []string{
			`conf.d/a.toml:2:1: unknown key policy.dmz.alow: did you mean "allow"?`,
			"conf.d/a.toml:2:1: policy.dmz.allow: config.toml:4 sets it, too: leave one out",
		}},
		{"values", map[string]string{"conf.d/a.toml": "guard = 1\n[[vm]]\nname = ''\n[[vm]]\n", "conf.d/b.toml": "[[vm]]\nname = 'x'\npolicy = 'nobody'\n[policy.dmz]\ndeny = ['x/1']\n"}, []string{
			"conf.d/a.toml:1:9: guard: want true or false",
			"conf.d/a.toml:3:8: [[vm]]: name = \"\" is no name or glob",
			"conf.d/a.toml:4:3: [[vm]]: ",
			`conf.d/b.toml:3:10: [[vm]]: nobody defines the policy "nobody": write a section [policy.nobody]`,
			`conf.d/b.toml:5:9: deny: "x/1" is no prefix such as 192.168.0.0/16 or fc00::/7`,
		}},
		{"sections in a list", map[string]string{"conf.d/a.toml": "vm = [{name = 'b'}, {name = 'c', policy = '?'}]\n", "conf.d/b.toml": "vm = [{name = ''}]\n"}, []string{
			`conf.d/a.toml:1:43: [[vm]]: policy = "?": want a policy's name, as in [policy.NAME]`,
			`conf.d/b.toml:1:15: [[vm]]: name = "" is no name or glob`,
		}},
		{"no TOML", map[string]string{"conf.d/a.toml": "[", "conf.d/b.toml": "\n]"}, []string{"conf.d/a.toml:1:", "conf.d/b.toml:2:1: "}},
	} {
		t.Run(test.about, func(t *testing.T) {
			test.files["config.toml"] = main
			_, err := load(t, test.files)
			wrong, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("error %v", err)
			}
			if len(wrong.Mistakes) != len(test.want) {
				t.Errorf("%d mistakes, want %d", len(wrong.Mistakes), len(test.want))
			}
			for i, m := range wrong.Mistakes {
				if i >= len(test.want) || !strings.HasPrefix(m.String(), test.want[i]) {
					t.Errorf("%v, want %q", m, test.want[min(i, len(test.want)-1)])
				}
			}
		})
	}
}

// Warnings, too.
func TestFolderWarnings(t *testing.T) {
	c, err := load(t, map[string]string{"config.toml": "parents = ['eth0']\n[[vm]]\nname = '*'\n", "conf.d/a.toml": "\n[[vm]]\nname = 'a'\n"})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 1 || !strings.HasPrefix(c.Warnings[0], "conf.d/a.toml:2:3: [[vm]]: no VM comes to this section") {
		t.Errorf("%q", c.Warnings)
	}
}

// What cannot be read is no reason to go on without it; a pipe would never end.
func TestFolderUnreadable(t *testing.T) {
	for about, spoil := range map[string]func() error{
		"a link to nothing": func() error { return os.Symlink("nothing", "conf.d/z.toml") },
		"a loop of links":   func() error { return os.Symlink("z.toml", "conf.d/z.toml") },
		"a huge file":       func() error { return os.Truncate("conf.d/a.toml", maxSize+1) },
		"no folder":         func() error { return errors.Join(os.RemoveAll("conf.d"), os.WriteFile("conf.d", nil, 0o600)) },
	} {
		if _, err := load(t, map[string]string{"config.toml": "parents = ['eth0']\n", "conf.d/a.toml": ""}); err != nil {
			t.Fatal(err)
		}
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if _, err := Load("config.toml"); err == nil || !strings.Contains(err.Error(), "conf.d") {
			t.Errorf("%s: error %v", about, err)
		}
	}
	if _, err := load(t, map[string]string{"config.toml": "parents = ['eth0']\n", "conf.d/a.toml": ""}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo("conf.d/pipe.toml", 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load("config.toml"); err != nil {
		t.Errorf("a pipe: %v", err)
	}
}
