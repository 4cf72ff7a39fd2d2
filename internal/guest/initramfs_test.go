package guest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cavaliergopher/cpio"
)

// unpack reads an initramfs back: what each entry holds, and their order.
func unpack(t *testing.T, hostPath string) (entries map[string]*cpio.Header, content map[string]string, order []string) {
	t.Helper()
	f, err := os.Open(hostPath)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	entries, content = map[string]*cpio.Header{}, map[string]string{}
	for r := cpio.NewReader(zr); ; {
		hdr, err := r.Next()
		if errors.Is(err, io.EOF) {
			return entries, content, order
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		entries[hdr.Name], content[hdr.Name] = hdr, string(text)
		order = append(order, hdr.Name)
	}
}

func TestInitramfs(t *testing.T) {
	host := filepath.Join(t.TempDir(), "host")
	if err := os.WriteFile(host, []byte("from the host"), 0o640); err != nil {
		t.Fatal(err)
	}
	r := NewInitramfs(nil)
	r.AddFile("/init", 0o755, []byte("first"))
	r.AddFile("/init", 0o755, []byte("#!/bin/sh\n"))
	r.AddSymlink("/var/run", "../run")
	if err := r.AddHostFile("/a/b/c", host); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "initramfs.gz")
	if err := r.WriteFile(out); err != nil {
		t.Fatal(err)
	}
	entries, content, order := unpack(t, out)

	if got := content["init"]; got != "#!/bin/sh\n" || entries["init"].Mode != cpio.TypeReg|0o755 {
		t.Errorf("init: %v %q", entries["init"].Mode, got)
	}
	if got := content["a/b/c"]; got != "from the host" || entries["a/b/c"].Mode.Perm() != 0o640 {
		t.Errorf("a/b/c: %v %q", entries["a/b/c"].Mode, got)
	}
	if got := entries["var/run"].Linkname; got != "../run" {
		t.Errorf("var/run leads to %q", got)
	}
	for _, dir := range []string{"a", "a/b", "var", "proc", "dev"} {
		if entries[dir] == nil || !entries[dir].Mode.IsDir() {
			t.Errorf("%s is no directory", dir)
		}
	}
	if !slices.IsSorted(order) {
		t.Errorf("a directory may come after its files: %q", order)
	}
}

func TestInitramfsSameBytes(t *testing.T) {
	var packed [2][]byte
	for i := range packed {
		r := NewInitramfs(nil)
		for _, name := range []string{"/x", "/y/z", "/w"} {
			r.AddFile(name, 0o644, []byte(name))
		}
		out := filepath.Join(t.TempDir(), "initramfs.gz")
		if err := r.WriteFile(out); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		packed[i] = content
	}
	if !bytes.Equal(packed[0], packed[1]) {
		t.Error("the same entries gave different bytes")
	}
}

func TestAddHostDir(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "story"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "story", "rules.nft"), []byte("table"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := NewInitramfs(nil)
	if err := r.AddHostDir("/repository/testdata", dir); err != nil {
		t.Fatal(err)
	}
	if got := string(r.files["/repository/testdata/story/rules.nft"].content); got != "table" {
		t.Errorf("got %q", got)
	}

	if err := os.Symlink("/nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := r.AddHostDir("/again", dir); err == nil {
		t.Error("a link was taken")
	}
	if err := r.AddHostDir("/again", filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
}
