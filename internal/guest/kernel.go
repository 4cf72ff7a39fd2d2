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

// Variables that name a kernel other than Debian's for [Kernel]. They go
// together: a bzImage, and its /lib/modules/RELEASE with depmod's modules.dep.
const (
	vmlinuzVariable = "MACVTAP_FILTER_VMLINUZ"
	modulesVariable = "MACVTAP_FILTER_MODULES"
)

// A KernelImage is an unpacked kernel package.
type KernelImage struct {
	Vmlinuz    string // path of the bootable image
	ModulesDir string // path of lib/modules/RELEASE, which holds modules.dep
	Release    string // what uname -r will say, such as 6.1.0-56-cloud-amd64
}

// Version returns the part of the release that says which Linux this is, such
// as "6.1".
func (k *KernelImage) Version() string {
	parts := strings.SplitN(k.Release, ".", 3)
	if len(parts) < 2 {
		return k.Release
	}
	minor, _, _ := strings.Cut(parts[1], "-")
	return parts[0] + "." + minor
}

// Kernel returns the kernel that Debian's linux-image-cloud-amd64 depends on,
// downloading and unpacking it on first use; later calls find it in the user's
// cache and need no network. The variables MACVTAP_FILTER_VMLINUZ and
// MACVTAP_FILTER_MODULES (a /lib/modules/RELEASE directory) name another one.
//
// It fails when apt knows no such package (apt-get update was never run), when
// the package cannot be downloaded, and when ctx ends.
func Kernel(ctx context.Context) (*KernelImage, error) {
	vmlinuz, modules := os.Getenv(vmlinuzVariable), os.Getenv(modulesVariable)
	if vmlinuz != "" || modules != "" {
		return namedKernel(vmlinuz, modules)
	}
	pkg, err := newestPackage(ctx)
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("kernel cache: %w", err)
	}
	dir := filepath.Join(cache, "macvtap-filter", "kernels", pkg)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := fetchPackage(ctx, pkg, dir); err != nil {
			return nil, fmt.Errorf("kernel package %s: %w", pkg, err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("kernel cache: %w", err)
	}
	k, err := unpackedKernel(dir)
	if err != nil {
		return nil, fmt.Errorf("%w (remove %s to fetch it again)", err, dir)
	}
	return k, nil
}

// namedKernel is the kernel that the two variables name.
func namedKernel(vmlinuz, modules string) (*KernelImage, error) {
	if vmlinuz == "" || modules == "" {
		return nil, fmt.Errorf("%s and %s must be set together", vmlinuzVariable, modulesVariable)
	}
	if _, err := os.Stat(vmlinuz); err != nil {
		return nil, fmt.Errorf("%s: %w", vmlinuzVariable, err)
	}
	if _, err := os.Stat(filepath.Join(modules, "modules.dep")); err != nil {
		return nil, fmt.Errorf("%s: run depmod first: %w", modulesVariable, err)
	}
	return &KernelImage{Vmlinuz: vmlinuz, ModulesDir: modules, Release: filepath.Base(modules)}, nil
}

// unpackedKernel finds the parts of a kernel package unpacked into dir.
func unpackedKernel(dir string) (*KernelImage, error) {
	vmlinuz, err := one(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil {
		return nil, err
	}
	modules, err := one(filepath.Join(dir, "lib", "modules", "*"))
	if err != nil {
		return nil, err
	}
	return &KernelImage{Vmlinuz: vmlinuz, ModulesDir: modules, Release: filepath.Base(modules)}, nil
}

// one returns the single path that matches pattern.
func one(pattern string) (string, error) {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return "", fmt.Errorf("%s: %w", pattern, err)
	}
	if len(paths) != 1 {
		return "", fmt.Errorf("%s: %d files, want exactly one", pattern, len(paths))
	}
	return paths[0], nil
}
