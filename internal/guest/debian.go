package guest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// metaPackage depends on the newest kernel made for virtual machines. That
// kernel has every netfilter module, starts in seconds, and on Debian 12 is
// Linux 6.1.
const metaPackage = "linux-image-cloud-amd64"

// suites are those of Debian's releases that hold kernels beside the machine's
// own: Linux 5.10, 6.1, 6.12, and most from 6.16 on.
var suites = []string{"bullseye", "bookworm", "trixie", "trixie-backports"}

// keyring has the keys that all of the suites are signed with.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// apt is Debian's package manager with these options, on every call. Its own user
// may not write where packages are unpacked, which it would warn of.
type apt []string

// machineApt is apt as the machine is set up.
var machineApt = apt{"--option", "APT::Sandbox::User=root"}

// suitesApt is apt with the lists of all suites, from the mirror that the machine
// takes its own packages from. They are fetched into a directory, and the
// machine's apt is left as it is.
func suitesApt(ctx context.Context, dir string) (apt, error) {
	out, err := machineApt.get(ctx, "", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian", "Label: Debian")
	if err != nil {
		return nil, err
	}
	mirror, _, _ := strings.Cut(out, "\n")
	if mirror == "" {
		return nil, errors.New("apt has no mirror of Debian to find other kernels on (was apt-get update run?)")
	}
	var sources strings.Builder
	for _, suite := range suites {
		fmt.Fprintf(&sources, "deb [signed-by=%s] %s %s main\n", keyring, mirror, suite)
	}
	for _, made := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, made), 0o755); err != nil {
			return nil, err
		}
	}
	list := filepath.Join(dir, "sources.list")
	if err := os.WriteFile(list, []byte(sources.String()), 0o644); err != nil {
		return nil, err
	}
	a := slices.Clone(machineApt)
	for _, option := range []string{
		"Dir::Etc::SourceList=" + list, "Dir::Etc::SourceParts=/dev/null",
		"Dir::State=" + filepath.Join(dir, "state"), "Dir::State::Status=/dev/null", "Dir::Cache=" + filepath.Join(dir, "cache"),
		"Acquire::Languages=none", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
	} {
		a = append(a, "--option", option)
	}
	// By itself, apt takes what it cannot fetch for a warning.
	_, err = a.get(ctx, "", "update", "--error-on=any")
	return a, err
}

// get runs apt-get in dir and returns what it printed.
func (a apt) get(ctx context.Context, dir string, args ...string) (string, error) {
	return command(ctx, dir, "apt-get", slices.Concat([]string{"--quiet"}, a, args)...)
}

// depends returns the packages that pkg depends on.
func (a apt) depends(ctx context.Context, pkg string) ([]string, error) {
	out, err := command(ctx, "", "apt-cache", slices.Concat(a, []string{"depends", pkg})...)
	if err != nil {
		return nil, fmt.Errorf("%w (was apt-get update run?)", err)
	}
	var packages []string
	for line := range strings.Lines(out) {
		if needed, found := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); found {
			packages = append(packages, needed)
		}
	}
	return packages, nil
}

// newest returns the package that metaPackage stands for.
func (a apt) newest(ctx context.Context) (string, error) {
	packages, err := a.depends(ctx, metaPackage)
	if err != nil {
		return "", err
	}
	for _, pkg := range packages {
		if strings.HasPrefix(pkg, "linux-image-") {
			return pkg, nil
		}
	}
	return "", fmt.Errorf("package %s: apt names no kernel that it depends on (was apt-get update run?)", metaPackage)
}

// newestOf returns the newest package that apt knows of a version such as "6.12",
// or "".
func (a apt) newestOf(ctx context.Context, version string) (string, error) {
	pattern := "^linux-image-" + regexp.QuoteMeta(version) + "[.][^-]*(-[0-9]+)?-cloud-amd64$"
	out, err := command(ctx, "", "apt-cache", slices.Concat(a, []string{"search", "--names-only", pattern})...)
	if err != nil {
		return "", err
	}
	var packages []string
	for line := range strings.Lines(out) {
		pkg, _, _ := strings.Cut(line, " ")
		packages = append(packages, pkg)
	}
	return last(packages), nil
}

// last returns the name with the highest numbers in it, compared from left to
// right, or "" if there is none.
func last(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return slices.MaxFunc(names, func(a, b string) int { return slices.Compare(numbers(a), numbers(b)) })
}

var number = regexp.MustCompile("[0-9]+")

// numbers returns the numbers in a name.
func numbers(name string) []int {
	var found []int
	for _, digits := range number.FindAllString(name, -1) {
		n, _ := strconv.Atoi(digits)
		found = append(found, n)
	}
	return found
}

// fetch downloads pkg and unpacks it as dir. It works in a directory
// beside dir and renames that at the end, so that dir is never seen half made;
// of two processes that do so at once, the second one's work is thrown away.
func (a apt) fetch(ctx context.Context, pkg, dir string) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(parent, ".fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)

	parts, err := a.parts(ctx, pkg)
	if err != nil {
		return err
	}
	if _, err := a.get(ctx, work, append([]string{"download"}, parts...)...); err != nil {
		return fmt.Errorf("%w (this needs a Debian mirror and a recent apt-get update)", err)
	}
	tree := filepath.Join(work, "tree")
	for _, part := range parts {
		deb, err := one(filepath.Join(work, part+"_*.deb"))
		if err != nil {
			return err
		}
		if _, err := command(ctx, work, "dpkg", "--extract", deb, tree); err != nil {
			return err
		}
	}
	if err := settle(ctx, tree); err != nil {
		return err
	}
	if err := os.Rename(tree, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// parts returns pkg, and those packages that a kernel of its release is spread
// over: since Linux 7.0 (6.19, some of it) the image and the modules are apart.
func (a apt) parts(ctx context.Context, pkg string) ([]string, error) {
	needed, err := a.depends(ctx, pkg)
	if err != nil {
		return nil, err
	}
	release := strings.TrimPrefix(pkg, "linux-image")
	parts := []string{pkg}
	for _, part := range needed {
		if strings.HasSuffix(part, release) {
			parts = append(parts, part)
		}
	}
	return parts, nil
}

// settle does to an unpacked package what its installation on a machine would,
// and takes its modules out of their xz: busybox's insmod takes plain ones only.
func settle(ctx context.Context, tree string) error {
	// Since Debian 13, packages count on /lib being a link.
	if _, err := os.Lstat(filepath.Join(tree, "lib")); errors.Is(err, fs.ErrNotExist) {
		if err := os.Symlink("usr/lib", filepath.Join(tree, "lib")); err != nil {
			return err
		}
	}
	var packed []string
	err := filepath.WalkDir(tree, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".ko.xz") {
			packed = append(packed, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(packed) > 0 {
		if _, err := command(ctx, tree, "xz", append([]string{"--decompress"}, packed...)...); err != nil {
			return fmt.Errorf("%d modules, first %s: %w (install xz-utils)", len(packed), packed[0], errors.Unwrap(err))
		}
	}
	k, err := unpackedKernel(tree)
	if err != nil {
		return err
	}
	_, err = command(ctx, tree, "depmod", "--basedir", tree, k.Release)
	return err
}
