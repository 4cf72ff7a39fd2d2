package watch_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// wide is the beginning of narrow, and right by itself.
const (
	wide   = "parents = [\"enp88s0\"]\n[policy.default]\ndeny = [\"203.0.113.0/24\"]\n"
	narrow = wide + "ipv6 = \"drop\"\n"
)

// TestHalfWritten shows a file that is written in its place while watch runs: only the
// whole counts, however slow, and in however many steps.
func TestHalfWritten(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	w := start(t, n, dmz)
	w.until("protected", func() bool { return !passes(t, n, tap, "192.168.2.77") })
	shut := strings.Replace(narrow, "203.0.113.0/24", "192.168.0.0/16", 1)

	// As of a program that writes into a pipe for a long time.
	f, err := os.Create(w.file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(wide); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second) // in which it would be read
	if w.count("read the configuration") > 0 || passes(t, n, tap, "192.168.2.77") {
		t.Error("half a file was taken while it was open")
	}
	if _, err := f.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(shut); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	w.took(1)

	// As of a script that appends line by line. Each pause is short, all are not.
	if err := os.Truncate(w.file, 0); err != nil {
		t.Fatal(err)
	}
	began, paused := time.Now(), time.Duration(0)
	for line := range strings.Lines(shut) {
		f, err := os.OpenFile(w.file, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(line); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		paused = max(paused, time.Since(began))
		time.Sleep(300 * time.Millisecond)
		began = time.Now()
	}
	if paused < 500*time.Millisecond && w.logged("the last good configuration stays in force") {
		t.Error("half a file was taken between its lines")
	}
}

// TestReplaced shows the ways in which editors and tools replace a file.
func TestReplaced(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	w := start(t, n, dmz)
	w.until("protected", func() bool { return !passes(t, n, tap, "192.168.2.77") })
	folder := filepath.Dir(w.file)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(file, text string) { t.Helper(); must(os.WriteFile(file, []byte(text), 0o600)) }
	for i, way := range []struct {
		name    string
		replace func(text string)
	}{
		{"cp", func(text string) { write(w.file, text) }},
		{"mv", func(text string) { write(w.file+".new", text); must(os.Rename(w.file+".new", w.file)) }},
		{"vim, by a backup", func(text string) {
			must(os.Rename(w.file, w.file+"~"))
			write(w.file, text)
			must(os.Remove(w.file + "~"))
		}},
		{"rm and a link", func(text string) {
			write(w.file+".new", text)
			must(os.Remove(w.file))
			must(os.Link(w.file+".new", w.file))
		}},
		{"a symbolic link", func(text string) {
			must(os.MkdirAll(filepath.Join(folder, "a"), 0o700))
			write(filepath.Join(folder, "a", "real"), text)
			must(os.Remove(w.file))
			must(os.Symlink("a/real", w.file))
		}},
		{"where the link goes", func(text string) { write(filepath.Join(folder, "a", "real"), text) }},
		{"a folder's link", func(text string) {
			must(os.MkdirAll(filepath.Join(folder, "b"), 0o700))
			write(filepath.Join(folder, "b", "real"), text)
			must(os.Symlink("b", filepath.Join(folder, "new")))
			must(os.RemoveAll(filepath.Join(folder, "a")))
			must(os.Rename(filepath.Join(folder, "new"), filepath.Join(folder, "a")))
		}},
	} {
		text := dmz + strings.Repeat("\n", i+1)
		way.replace(text)
		w.until(way.name, func() bool { return w.count("read the configuration") == i+1 })
		if passes(t, n, tap, "192.168.2.77") {
			t.Errorf("%s: open", way.name)
		}
	}
	if w.logged("the last good configuration stays in force") {
		t.Error("a file that was away for a moment was told of")
	}
}

// TestFolder shows the folder beside the file, which comes while watch runs: its files count
// as they come, change and go, and half of one does not.
func TestFolder(t *testing.T) {
	n := network(t)
	tap := plug(t, n, "macvtap0", webMAC)
	w := start(t, n, dmz)
	w.until("protected", func() bool { return !passes(t, n, tap, "192.168.2.77") })
	folder := filepath.Join(filepath.Dir(w.file), "conf.d")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	section := func(more string) []byte { return []byte("[policy.lab]\n" + more + "[[vm]]\nname = \"x\"\n") }
	reads := 0
	took := func(about string) {
		t.Helper()
		reads++
		w.until(about, func() bool { return w.count("read the configuration") == reads })
		if passes(t, n, tap, "192.168.2.77") {
			t.Errorf("%s: open", about)
		}
	}
	must(os.Mkdir(folder, 0o700))
	time.Sleep(time.Second) // in which it is seen, and has nothing
	must(os.WriteFile(filepath.Join(folder, "a.toml"), section(""), 0o600))
	took("a folder that came")
	must(os.WriteFile(filepath.Join(folder, "a.toml"), section("log = true\n"), 0o600))
	took("a file that changed")
	must(os.WriteFile(filepath.Join(folder, "b.new"), []byte("[policy.more]\n"), 0o600))
	must(os.Rename(filepath.Join(folder, "b.new"), filepath.Join(folder, "b.toml")))
	took("a file that got its name")
	must(os.Remove(filepath.Join(folder, "b.toml")))
	took("a file that went away")

	// One that is open to be written is not read.
	f, err := os.Create(filepath.Join(folder, "c.toml"))
	must(err)
	_, err = f.WriteString("[policy.half]\n")
	must(err)
	time.Sleep(3 * time.Second) // in which it would be read
	if w.count("read the configuration") > reads {
		t.Error("half a file was taken while it was open")
	}
	must(f.Close())
	took("a file that was written slowly")

	// A mistake is told of each file, and changes nothing.
	must(os.WriteFile(filepath.Join(folder, "d.toml"), []byte("[policy.half]\nalow = []\n[policy.lab]\nlog = false\n"), 0o600))
	w.until("mistakes", func() bool {
		return w.logged("d.toml:2:1: unknown key policy.half.alow") && w.logged("the last good configuration stays in force") &&
			w.logged("d.toml:4:1: policy.lab.log: "+filepath.Join(folder, "a.toml")+":2 sets it, too")
	})
	must(os.RemoveAll(folder))
	took("a folder that went away")
	must(os.Mkdir(folder+".new", 0o700))
	must(os.WriteFile(filepath.Join(folder+".new", "a.toml"), section(""), 0o600))
	must(os.Rename(folder+".new", folder))
	took("a folder that was put there")
	must(os.WriteFile(filepath.Join(folder, "a.toml"), section("log = true\n"), 0o600))
	took("a file in it")
}
