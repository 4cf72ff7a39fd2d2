package guest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// metaPackage depends on the newest kernel made for virtual machines. That
// kernel has every netfilter module, starts in seconds, and on Debian 12 is
// Linux 6.1.
const metaPackage = "linux-image-cloud-amd64"

// newestPackage asks apt for the package that metaPackage stands for.
func newestPackage(ctx context.Context) (string, error) {
	out, err := command(ctx, "", "apt-cache", "depends", metaPackage)
	if err != nil {
		return "", fmt.Errorf("%w (was apt-get update run?)", err)
	}
	for line := range strings.Lines(out) {
		pkg, found := strings.CutPrefix(strings.TrimSpace(line), "Depends: ")
		if found && strings.HasPrefix(pkg, "linux-image-") {
			return pkg, nil
		}
	}
	return "", fmt.Errorf("package %s: apt names no kernel that it depends on (was apt-get update run?)", metaPackage)
}

// fetchPackage downloads pkg and unpacks it as dir. It works in a directory
// beside dir and renames that at the end, so that dir is never seen half made;
// of two processes that do so at once, the second one's work is thrown away.
func fetchPackage(ctx context.Context, pkg, dir string) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(parent, ".fetch-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)

	// apt's own user may not write here, which apt would warn of.
	if _, err := command(ctx, work, "apt-get", "--quiet", "--option", "APT::Sandbox::User=root", "download", pkg); err != nil {
		return fmt.Errorf("%w (this needs a Debian mirror and a recent apt-get update)", err)
	}
	deb, err := one(filepath.Join(work, "*.deb"))
	if err != nil {
		return err
	}
	tree := filepath.Join(work, "tree")
	if _, err := command(ctx, work, "dpkg", "--extract", deb, tree); err != nil {
		return err
	}
	k, err := unpackedKernel(tree)
	if err != nil {
		return err
	}
	// The package leaves modules.dep to its installation.
	if _, err := command(ctx, work, "depmod", "--basedir", tree, k.Release); err != nil {
		return err
	}
	if err := os.Rename(tree, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
