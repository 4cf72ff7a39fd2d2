package packaging

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"
)

// Who looks into a package with cpio unpacks it where he is: its names are relative, as
// rpm's own are. Its program knows the package's version, and each folder that a base
// system may lack is the package's, so that its removal leaves none.
func TestPackages(t *testing.T) {
	for _, program := range []string{"rpmbuild", "dpkg-deb"} {
		needs(t, program)
	}
	out := t.TempDir()
	build := exec.Command("make", "-C", "../..", "packages")
	build.Env = append(os.Environ(), "VERSION=9.8.7", "OUT="+out, "MAINTAINER=A Name <name@example.org>", "SOURCE_DATE_EPOCH=1700000000", "MAKEFLAGS=")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	for kind, unpack := range map[string]func(t *testing.T, file, folder string){"rpm": unpackRPM, "deb": unpackDeb} {
		t.Run(kind, func(t *testing.T) {
			found, err := filepath.Glob(filepath.Join(out, "macvtap-filter*9.8.7*."+kind))
			if err != nil || len(found) != 1 {
				t.Fatalf("packages: %q, %v", found, err)
			}
			folder := t.TempDir()
			unpack(t, found[0], folder)
			if said := output(t, filepath.Join(folder, "usr/sbin/macvtap-filter"), "--version"); !strings.HasPrefix(said, "macvtap-filter 9.8.7 (go") {
				t.Errorf("the program's version: %q", said)
			}
			if link, err := os.Readlink(filepath.Join(folder, "etc/libvirt/hooks/qemu.d/macvtap-filter")); link != "/usr/sbin/macvtap-filter" {
				t.Errorf("the hook leads to %q, %v", link, err)
			}
		})
	}
}

// baseFolders are those that every system has, or that a package owns without which
// ours means nothing: it may not decide who reads libvirt's.
var baseFolders = []string{"/etc", "/etc/libvirt", "/usr", "/usr/lib", "/usr/sbin", "/usr/share", "/usr/share/man", "/usr/share/man/man5", "/usr/share/man/man8"}

func unpackRPM(t *testing.T, file, folder string) {
	owned := strings.Fields(output(t, "rpm", "-qlp", file))
	for _, name := range owned {
		for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
			if !slices.Contains(baseFolders, dir) && !slices.Contains(owned, dir) {
				t.Errorf("nobody owns the folder %s of %s", dir, name)
			}
		}
	}
	payload := cpio.NewReader(strings.NewReader(output(t, "rpm2cpio", file)))
	for {
		header, err := payload.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(header.Name, "./") || strings.Contains(header.Name, "..") {
			t.Fatalf("the payload has the name %q", header.Name)
		}
		if err := unpackEntry(filepath.Join(folder, header.Name), header, payload); err != nil {
			t.Fatal(err)
		}
	}
}

func unpackEntry(to string, header *cpio.Header, content io.Reader) error {
	if header.Mode&cpio.ModeType == cpio.TypeDir {
		return os.MkdirAll(to, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if header.Mode&cpio.ModeType == cpio.TypeSymlink {
		return os.Symlink(header.Linkname, to)
	}
	text, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, os.FileMode(header.Mode&cpio.ModePerm))
}

func unpackDeb(t *testing.T, file, folder string) {
	output(t, "dpkg-deb", "--extract", file, folder)
}

// A later commit is a later version, on the same day too.
func TestVersionsSortByTime(t *testing.T) {
	for _, program := range []string{"git", "dpkg", "rpm"} {
		needs(t, program)
	}
	script, err := filepath.Abs("version.sh")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	do := func(env, name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = folder
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org", env)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	do("", "git", "init", "-q")
	var versions []string
	commit := func(date string) {
		do("GIT_COMMITTER_DATE="+date, "git", "commit", "-q", "--allow-empty", "-m", date)
		versions = append(versions, do("", "sh", script))
	}
	// The last is later, though its zone's clock shows an earlier hour.
	for hour := range 9 {
		commit(fmt.Sprintf("2026-11-29T%02d:30:00+0000", 10+hour))
	}
	commit("2026-11-29T09:30:00-1200")
	do("", "git", "tag", "v0.1.0")
	commit("2026-11-29T22:30:00+0000")
	versions[len(versions)-2] = "0.1.0~rc1"
	for i, later := range versions[1:] {
		do("", "dpkg", "--compare-versions", versions[i], "lt", later)
		if got := do("", "rpm", "--eval", "%{lua:print(rpm.vercmp('"+versions[i]+"','"+later+"'))}"); got != "-1" {
			t.Errorf("rpm compares %s and %s: %s", versions[i], later, got)
		}
	}
}

// output runs a program, which must succeed, and gives what it printed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, &stderr)
	}
	return string(out)
}
